"""``token_logprobs`` on a GPU: one Triton kernel for each pass, with three numbers a row kept in between."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ttrl_env.kernels.row_sums_triton import (
    LARGEST_SCALE,
    LN_2,
    LOG2_E,
    SMALLEST_EXPONENT,
    exponent_scale,
    finite_or_zero,
    is_valid,
    load_logits,
    statistics,
)

FORWARD_BLOCK = 8192
BACKWARD_BLOCK = 4096
SMALLEST_GRADIENT_TEMPERATURE = tl.constexpr(1e-25)
"""Lower bound on the temperature. The inverse of a smaller one would overflow in a gradient.

At this bound all weight is already at the maximum, or the row is invalid.
"""


def launch_forward(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    logprobs: Tensor,
    entropies: Tensor,
    kept: Tensor,
) -> None:
    """Fill the last three arguments; see ``logprobs.logprobs_forward``."""
    rows, width = logits.shape
    _forward[(rows,)](
        logits,
        tokens.contiguous(),
        temperatures.contiguous(),
        logprobs,
        entropies,
        kept,
        logits.stride(0),
        logits.stride(1),
        rows,
        lo,
        width,
        **block_options(width, FORWARD_BLOCK),
    )


def launch_backward(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    kept: Tensor,
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    grad_logits: Tensor,
) -> None:
    """Fill ``grad_logits`` ``[rows, width]``, its rows contiguous; see ``logprobs.logprobs_backward``."""
    rows, width = logits.shape
    options = block_options(width, BACKWARD_BLOCK)
    _backward[(rows, triton.cdiv(width, options["BLOCK"]))](
        logits,
        tokens.contiguous(),
        temperatures.contiguous(),
        kept,
        grad_logprobs,
        grad_entropies,
        grad_logits,
        logits.stride(0),
        logits.stride(1),
        0 if grad_logprobs is None else grad_logprobs.stride(0),
        0 if grad_entropies is None else grad_entropies.stride(0),
        grad_logits.stride(0),
        rows,
        lo,
        width,
        **options,
    )


def block_options(width: int, largest: int) -> dict[str, Any]:
    """Compile-time arguments: the number of logits in a step and of warps that share them."""
    block = min(max(triton.next_power_of_2(width), 32), largest)
    return {"BLOCK": block, "num_warps": min(max(block // 256, 1), 8), "enable_fp_fusion": True}


@triton.jit(do_not_specialize=["lo", "rows"])
def _forward(
    logits,
    tokens,
    temperatures,
    logprobs,
    entropies,
    kept,
    logits_row_stride,
    logits_stride,
    rows,
    lo,
    width,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperatures + row)
    is_greedy = temperature == 0.0
    scale = exponent_scale(temperature, is_greedy)
    row_logits = logits + row * logits_row_stride
    position = tl.load(tokens + row) - lo
    inside = (position >= 0) & (position < width)
    chosen = tl.load(row_logits + position * logits_stride, mask=inside, other=-float("inf")).to(tl.float32)

    maximum = -float("inf")
    total = 0.0
    weighted = 0.0
    for start in range(0, width, BLOCK):
        values = load_logits(row_logits, start + tl.arange(0, BLOCK), logits_stride, width)
        higher = tl.maximum(maximum, tl.max(values, 0))
        # Rescale the sums so far to the new maximum. In the first step they are 0, relative to -inf.
        shift = tl.maximum((maximum - finite_or_zero(higher)) * scale, SMALLEST_EXPONENT)
        exponents = (values - finite_or_zero(higher)) * scale
        weights = tl.exp2(exponents)
        factor = tl.exp2(shift)
        weighted = factor * (weighted + shift * total) + tl.sum(
            weights * tl.maximum(exponents, SMALLEST_EXPONENT), 0
        )
        total = factor * total + tl.sum(weights, 0)
        maximum = higher
    valid = is_valid(total, maximum, temperature) & inside

    logprob, entropy = statistics(chosen, maximum, scale, total, weighted)
    if is_greedy & valid:
        first = width
        for start in range(0, width, BLOCK):
            offsets = start + tl.arange(0, BLOCK)
            values = load_logits(row_logits, offsets, logits_stride, width)
            first = tl.minimum(first, tl.min(tl.where(values == maximum, offsets, width), 0))
        logprob = tl.where(position == first, 0.0, -float("inf"))
    regular = valid & (is_greedy == 0)
    tl.store(logprobs + row, tl.where(valid, logprob, -float("inf")))
    tl.store(entropies + row, tl.where(regular, entropy, 0.0))
    tl.store(kept + row, tl.where(regular, maximum, 0.0))
    tl.store(kept + rows.to(tl.int64) + row, tl.where(regular, total, 0.0))
    tl.store(kept + rows.to(tl.int64) * 2 + row, tl.where(regular, weighted, 0.0))


@triton.jit(do_not_specialize=["lo", "rows"])
def _backward(
    logits,
    tokens,
    temperatures,
    kept,
    grad_logprobs,
    grad_entropies,
    grad_logits,
    logits_row_stride,
    logits_stride,
    grad_logprobs_stride,
    grad_entropies_stride,
    grad_logits_row_stride,
    rows,
    lo,
    width,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperatures + row)
    maximum = tl.load(kept + row)
    total = tl.load(kept + rows.to(tl.int64) + row)
    weighted = tl.load(kept + rows.to(tl.int64) * 2 + row)
    position = tl.load(tokens + row) - lo
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    grads = tl.zeros([BLOCK], tl.float32)
    if total > 0.0:  # rows without gradient keep 0
        scale = tl.minimum(LOG2_E / temperature, LARGEST_SCALE)
        values = load_logits(logits + row * logits_row_stride, offsets, logits_stride, width)
        exponents = (values - maximum) * scale
        weights = tl.exp2(exponents)
        temperature = tl.maximum(temperature, SMALLEST_GRADIENT_TEMPERATURE)
        if grad_entropies is not None:
            at_entropy = tl.load(grad_entropies + row * grad_entropies_stride).to(tl.float32)
            at_entropy *= LN_2 / (temperature * total)
            distances = tl.maximum(exponents, SMALLEST_EXPONENT) - weighted / total
            grads -= at_entropy * weights * distances
        if grad_logprobs is not None:
            at_logprob = tl.load(grad_logprobs + row * grad_logprobs_stride).to(tl.float32) / temperature
            grads -= (at_logprob / total) * weights
            grads += tl.where(offsets == position, at_logprob, 0.0)
    pointers = grad_logits + row * grad_logits_row_stride + offsets
    tl.store(pointers, grads.to(grad_logits.dtype.element_ty), mask=offsets < width)
