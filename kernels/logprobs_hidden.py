"""``token_logprobs_from_hidden``: log-probs for training, with only a block of logits in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.head import check_head, head_logits, row_blocks
from ttrl_env.kernels.logprobs import (
    empty_outputs,
    keep_for_backward,
    logprobs_backward,
    logprobs_forward,
)
from ttrl_env.kernels.once import differentiable_once
from ttrl_env.kernels.products import plain_products


def token_logprobs_from_hidden(
    hidden: Tensor,
    head_weight: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    *,
    window: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """``token_logprobs`` of ``hidden @ head_weight[lo:hi].T``, in float32, a block of rows at a time.

    The backward pass computes each block's logits again. So at most 64 MB of logits, and of their gradient,
    exist at once for any number of rows.

    Args:
        hidden: ``[rows, dim]`` float32, bfloat16 or float16.
        head_weight: ``[vocab, dim]``, of the same dtype: ``lm_head.weight`` as it is.
        tokens: this and the following as for ``token_logprobs``.

    Returns:
        ``(logprobs, entropies)``, each shaped as ``temperatures``, float32, differentiable once with respect
        to ``hidden`` and ``head_weight``.

    Raises:
        TypeError, ValueError: as ``token_logprobs``, and where ``hidden`` and ``head_weight`` do not fit.
    """
    lo, hi = check_head(hidden, head_weight, window)
    arguments.check_rows("tokens", tokens, hidden, torch.int64)
    arguments.check_temperatures(temperatures, hidden)
    arrays = (hidden, head_weight, tokens, temperatures.detach())
    if arguments.needs_dispatcher(*arrays):
        logprobs, entropies, _ = torch.ops.ttrl_env.token_logprobs_from_hidden(*arrays, lo, hi)
        return logprobs, entropies
    arguments.check_temperature_values(temperatures)
    arguments.check_token_values(tokens, lo, hi)
    return _TokenLogprobsFromHidden.apply(*arrays, lo, hi)


class _TokenLogprobsFromHidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        output = hidden_forward(*inputs)
        keep_for_backward(ctx, inputs, output)
        return output[:2]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        tensors = (*grads, *ctx.saved_tensors)
        with torch.no_grad():
            both = hidden_backward(*[*tensors, *ctx.window, ctx.needs_input_grad[:2]])
        return *(differentiable_once(grad, tensors) for grad in both), None, None, None, None


def hidden_forward(
    hidden: Tensor, head_weight: Tensor, tokens: Tensor, temperatures: Tensor, lo: int, hi: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs, entropies and statistics as ``logprobs.logprobs_forward``."""
    width = hi - lo
    outputs = []
    for block in row_blocks(hidden.shape[0], width):
        logits = head_logits(hidden[block], head_weight[lo:hi])
        outputs.append(logprobs_forward(logits, tokens[block] - lo, temperatures[block], 0, width))
    if len(outputs) == 1:
        return outputs[0]
    if not outputs:
        return empty_outputs(temperatures)
    logprobs, entropies, statistics = zip(*outputs, strict=True)
    return torch.cat(logprobs), torch.cat(entropies), torch.cat(statistics, dim=1)


def hidden_backward(
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    hidden: Tensor,
    head_weight: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    statistics: Tensor,
    lo: int,
    hi: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients with respect to ``hidden`` and ``head_weight``, each computed only if ``wanted``."""
    weight = head_weight[lo:hi]
    grad_hidden = torch.empty_like(hidden) if wanted[0] else None
    grad_window = weight.new_zeros(weight.shape, dtype=torch.float32) if wanted[1] else None
    for block in row_blocks(hidden.shape[0], hi - lo):
        grad_logits = logprobs_backward(
            None if grad_logprobs is None else grad_logprobs[block],
            None if grad_entropies is None else grad_entropies[block],
            head_logits(hidden[block], weight),
            tokens[block] - lo,
            temperatures[block],
            statistics[:, block].contiguous(),
            0,
            hi - lo,
        ).to(hidden.dtype)
        if grad_hidden is not None:
            with plain_products(hidden.device):
                torch.mm(grad_logits, weight, out=grad_hidden[block])
        if grad_window is not None:
            grad_window += head_logits(grad_logits.t(), hidden[block].t())
    return grad_hidden, _in_vocabulary(grad_window, head_weight, lo, hi)


def _in_vocabulary(grad_window: Tensor | None, head_weight: Tensor, lo: int, hi: int) -> Tensor | None:
    """The gradient of the whole head: the window's rows, and zeros elsewhere."""
    if grad_window is None:
        return None
    grad = torch.zeros_like(head_weight)
    grad[lo:hi] = grad_window
    return grad
