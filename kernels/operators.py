"""The kernels as custom PyTorch operators, which ``torch.compile`` and ``torch.func`` treat as opaque.

The public functions call these operators only where ``arguments.needs_dispatcher`` says so. Other calls skip
them, because dispatching a custom operator takes longer than a small call computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd

from ttrl_env.kernels.logprobs import (
    empty_outputs,
    keep_for_backward,
    logprobs_backward,
    logprobs_forward,
)
from ttrl_env.kernels.logprobs_hidden import hidden_backward, hidden_forward
from ttrl_env.kernels.sampling import fill_samples
from ttrl_env.kernels.sampling_hidden import fill_samples_from_hidden
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs


@custom_op(
    "ttrl_env::sample_tokens",
    mutates_args=(),
    schema="(Tensor logits, Tensor temperatures, Tensor seeds, Tensor step, Tensor? greedy,"
    " SymInt lo, SymInt hi) -> (Tensor, Tensor, Tensor, Tensor)",
)
def sample_tokens_operator(
    logits: Tensor, temperatures: Tensor, seeds: Tensor, step: Tensor, greedy: Tensor | None, lo: int, hi: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``sample_tokens`` with its arguments checked and its window spelled out."""
    out = SampledTokens.empty(logits.shape[0], logits.device)
    fill_samples(logits, lo, hi, SamplingInputs(temperatures, seeds, step, greedy), out)
    return out.tensors()


@custom_op(
    "ttrl_env::sample_from_hidden",
    mutates_args=(),
    schema="(Tensor hidden, Tensor head_weight, Tensor temperatures, Tensor seeds, Tensor step,"
    " Tensor? greedy, SymInt lo, SymInt hi) -> (Tensor, Tensor, Tensor, Tensor)",
)
def sample_from_hidden_operator(
    hidden: Tensor,
    head_weight: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    step: Tensor,
    greedy: Tensor | None,
    lo: int,
    hi: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``sample_from_hidden`` with its arguments checked and its window spelled out."""
    out = SampledTokens.empty(hidden.shape[0], hidden.device)
    sampling = SamplingInputs(temperatures, seeds, step, greedy)
    fill_samples_from_hidden(hidden, head_weight[lo:hi], sampling, lo, out)
    return out.tensors()


@sample_tokens_operator.register_fake
@sample_from_hidden_operator.register_fake
def _empty_samples(like: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = like.shape[0]
    dtypes = (torch.int64, torch.float32, torch.float32, torch.bool)
    tokens, logprobs, entropies, valid = (like.new_empty(rows, dtype=dtype) for dtype in dtypes)
    return tokens, logprobs, entropies, valid


@custom_op(
    "ttrl_env::token_logprobs",
    mutates_args=(),
    schema="(Tensor logits, Tensor tokens, Tensor temperatures, SymInt lo, SymInt hi)"
    " -> (Tensor, Tensor, Tensor)",
)
def token_logprobs_operator(
    logits: Tensor, tokens: Tensor, temperatures: Tensor, lo: int, hi: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs, entropies and the three numbers for each that the gradient needs."""
    return logprobs_forward(logits, tokens, temperatures, lo, hi)


@token_logprobs_operator.register_fake
def _(_logits: Tensor, _tokens: Tensor, temperatures: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return empty_outputs(temperatures)


@custom_op(
    "ttrl_env::token_logprobs_backward",
    mutates_args=(),
    schema="(Tensor? grad_logprobs, Tensor? grad_entropies, Tensor logits, Tensor tokens,"
    " Tensor temperatures, Tensor statistics, SymInt lo, SymInt hi) -> Tensor",
)
def token_logprobs_backward_operator(
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    statistics: Tensor,
    lo: int,
    hi: int,
) -> Tensor:
    """The gradient with respect to the logits."""
    return logprobs_backward(grad_logprobs, grad_entropies, logits, tokens, temperatures, statistics, lo, hi)


@token_logprobs_backward_operator.register_fake
def _(_logprobs: Tensor | None, _entropies: Tensor | None, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


@custom_op(
    "ttrl_env::token_logprobs_from_hidden",
    mutates_args=(),
    schema="(Tensor hidden, Tensor head_weight, Tensor tokens, Tensor temperatures, SymInt lo, SymInt hi)"
    " -> (Tensor, Tensor, Tensor)",
)
def token_logprobs_from_hidden_operator(
    hidden: Tensor, head_weight: Tensor, tokens: Tensor, temperatures: Tensor, lo: int, hi: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs, entropies and the three numbers for each that the gradient needs."""
    return hidden_forward(hidden, head_weight, tokens, temperatures, lo, hi)


@token_logprobs_from_hidden_operator.register_fake
def _(
    _hidden: Tensor, _head: Tensor, _tokens: Tensor, temperatures: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_outputs(temperatures)


@custom_op(
    "ttrl_env::token_logprobs_from_hidden_backward",
    mutates_args=(),
    schema="(Tensor? grad_logprobs, Tensor? grad_entropies, Tensor hidden, Tensor head_weight, Tensor tokens,"
    " Tensor temperatures, Tensor statistics, SymInt lo, SymInt hi, bool[] wanted) -> (Tensor, Tensor)",
)
def token_logprobs_from_hidden_backward_operator(
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    hidden: Tensor,
    head_weight: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    statistics: Tensor,
    lo: int,
    hi: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """The gradients with respect to hidden states and head; an unwanted one is an empty tensor."""
    grads = hidden_backward(
        grad_logprobs, grad_entropies, hidden, head_weight, tokens, temperatures, statistics, lo, hi, wanted
    )
    grad_hidden, grad_weight = (hidden.new_empty(0) if grad is None else grad for grad in grads)
    return grad_hidden, grad_weight


@token_logprobs_from_hidden_backward_operator.register_fake
def _(
    _logprobs: Tensor | None, _entropies: Tensor | None, hidden: Tensor, head_weight: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    wanted = rest[-1]
    return (
        torch.empty_like(hidden) if wanted[0] else hidden.new_empty(0),
        torch.empty_like(head_weight) if wanted[1] else hidden.new_empty(0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    keep_for_backward(ctx, inputs, output)
    ctx.mark_non_differentiable(output[2])


def _logprobs_gradient(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    grad = token_logprobs_backward_operator(*grads[:2], *ctx.saved_tensors, *ctx.window)
    return grad, None, None, None, None


def _hidden_gradient(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    wanted = list(ctx.needs_input_grad[:2])
    both = token_logprobs_from_hidden_backward_operator(*grads[:2], *ctx.saved_tensors, *ctx.window, wanted)
    return *(grad if want else None for grad, want in zip(both, wanted, strict=True)), None, None, None, None


register_autograd(token_logprobs_operator, _logprobs_gradient, setup_context=_keep)
register_autograd(token_logprobs_from_hidden_operator, _hidden_gradient, setup_context=_keep)
