"""``token_logprobs``: the training twin of ``sample_tokens``, differentiable with respect to the logits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.logprobs_reference import token_logprobs_reference
from ttrl_env.kernels.once import differentiable_once


def token_logprobs(
    logits: Tensor, tokens: Tensor, temperatures: Tensor, *, window: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of one token a row, and the entropy, of ``softmax(logits[:, lo:hi] / temperature)``.

    With the same temperatures and window this is the distribution from which ``sample_tokens`` samples. So
    the ratio of new to old probabilities is 1 until the policy changes.

    Several temperatures a row are scored in one read of the logits. Each column of the results equals, bit
    for bit, what a call with that column of ``temperatures`` returns. The gradient is the sum over columns.

    Args:
        logits: ``[rows, vocab]`` float32, bfloat16, float16 or float64, any strides.
        tokens: ``[rows]`` int64 ids in the full vocabulary, inside the window.
        temperatures: ``[rows]``, or ``[rows, K]`` with K from 1 to 8, float32, finite and not negative.
        window: ``(lo, hi)``, half open, restricts the distribution to these token ids and renormalises.

    Returns:
        ``(logprobs, entropies)``, each shaped as ``temperatures``, float32 (float64 for float64 logits), both
        differentiable once with respect to ``logits``; the backward pass keeps three numbers for each.
        Temperature 0 has log-probability 0 at a row's most likely token and -inf at any other; a row that
        holds NaN or +inf, or only -inf, has -inf. Both have entropy 0 and no gradient: leave them out of a
        loss.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, mixed devices, a bad window, or, on the CPU, a token outside the window or
            a negative or non-finite temperature. On a GPU such a row has log-probability -inf.
    """
    arguments.check_logits(logits, (torch.float32, torch.bfloat16, torch.float16, torch.float64))
    arguments.check_rows("tokens", tokens, logits, torch.int64)
    arguments.check_temperatures(temperatures, logits)
    lo, hi = arguments.check_window(window, logits.shape[1])
    if logits.dtype == torch.float64:
        arguments.check_temperature_values(temperatures)
        arguments.check_token_values(tokens, lo, hi)
        return token_logprobs_reference(logits[:, lo:hi], tokens - lo, temperatures)
    if arguments.needs_dispatcher(logits, tokens, temperatures) or arguments.is_in_mode():
        logprobs, entropies, _ = torch.ops.ttrl_env.token_logprobs(
            logits, tokens, temperatures.detach(), lo, hi
        )
        return logprobs, entropies
    if logits.requires_grad and torch.is_grad_enabled():
        return _TokenLogprobs.apply(logits, tokens, temperatures.detach(), lo, hi)
    return logprobs_forward(logits, tokens, temperatures, lo, hi, checks_values=True)[:2]


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        output = logprobs_forward(*inputs, checks_values=True)
        keep_for_backward(ctx, inputs, output)
        return output[:2]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        tensors = (*grads, *ctx.saved_tensors)
        with torch.no_grad():
            grad = logprobs_backward(*tensors, *ctx.window)
        return differentiable_once(grad, tensors), None, None, None, None


def keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save the tensors among ``inputs``, the window at their end and the three numbers a row."""
    *tensors, lo, hi = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.window = lo, hi
    ctx.set_materialize_grads(False)


def logprobs_forward(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    hi: int,
    *,
    checks_values: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs and entropies, shaped as ``temperatures``, and statistics for the backward pass.

    The statistics are float32, ``[3, *temperatures.shape]``: the maximum logit, the sum of weights (0 where
    there is no gradient) and the sum of weights times base-2 exponents. With ``checks_values``, tokens and
    temperatures that the CPU sees are checked as ``token_logprobs`` promises.
    """
    logprobs, entropies, statistics = empty_outputs(temperatures)
    if logits.shape[0] == 0:
        return logprobs, entropies, statistics
    arrays = (logprobs, entropies, statistics)
    if logits.is_cuda:
        from ttrl_env.kernels.logprobs_triton import launch_forward

        with torch.cuda.device_of(logits):
            launch_forward(logits.detach()[:, lo:hi], tokens, temperatures.detach(), lo, *arrays)
    elif not _cpu_functions()[0](logits, tokens, temperatures, lo, hi, *arrays) and checks_values:
        arguments.check_temperature_values(temperatures)
        arguments.check_token_values(tokens, lo, hi)
    return logprobs, entropies, statistics


@functools.cache
def _cpu_functions() -> tuple[Callable[..., bool], Callable[..., None]]:
    """``forward_cpu`` and ``backward_cpu``; a cached call takes less time than an import statement."""
    from ttrl_env.kernels.logprobs_cpu import backward_cpu, forward_cpu

    return forward_cpu, backward_cpu


def empty_outputs(temperatures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised log-probs, entropies and statistics; see ``logprobs_forward``."""
    shape = temperatures.shape
    logprobs, entropies = (temperatures.new_empty(shape, dtype=torch.float32) for _ in range(2))
    return logprobs, entropies, temperatures.new_empty((3, *shape), dtype=torch.float32)


def logprobs_backward(
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    statistics: Tensor,
    lo: int,
    hi: int,
) -> Tensor:
    """The gradient with respect to ``logits``, in their dtype; 0 outside the window."""
    make = torch.empty if hi - lo == logits.shape[1] else torch.zeros
    grad_logits = make(logits.shape, dtype=logits.dtype, device=logits.device)
    if logits.shape[0] == 0:
        return grad_logits
    kept = (statistics, grad_logprobs, grad_entropies)
    if logits.is_cuda:
        from ttrl_env.kernels.logprobs_triton import launch_backward

        with torch.cuda.device_of(logits):
            launch_backward(logits[:, lo:hi], tokens, temperatures, lo, *kept, grad_logits[:, lo:hi])
    else:
        _cpu_functions()[1](logits, tokens, temperatures, lo, hi, *kept, grad_logits)
    return grad_logits
