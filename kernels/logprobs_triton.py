"""``token_logprobs`` on a GPU: one Triton kernel for each pass, with three numbers a row kept in between."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, assignment"
# ruff: noqa: RUF005  Triton's tuples grow by +, not by unpacking

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
    weighted_exponents,
)

FORWARD_BLOCK = 8192
BACKWARD_BLOCK = 8192
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
        **forward_options(width, logits.element_size(), temperatures[0].numel()),
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
    options = backward_options(width, temperatures[0].numel())
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
        *_strides(grad_logprobs),
        *_strides(grad_entropies),
        grad_logits.stride(0),
        rows,
        lo,
        width,
        **options,
    )


def _strides(gradient: Tensor | None) -> tuple[int, int]:
    """A gradient's strides by row and by column of temperatures."""
    if gradient is None:
        return 0, 0
    return gradient.stride(0), gradient.stride(1) if gradient.ndim == 2 else 0


def forward_options(width: int, element_bytes: int, temperatures: int) -> dict[str, Any]:
    """Compile-time arguments of the forward pass; ``K`` is the number of temperatures a row.

    A tile of ``STEPS * LANES * VECTOR`` logits is read in 16-byte vectors, one lane a thread.
    """
    block = min(max(triton.next_power_of_2(width), 256), FORWARD_BLOCK)
    num_warps = min(block // 256, 8)
    vector = 16 // element_bytes
    return {
        "K": temperatures,
        "STEPS": block // (num_warps * 32 * vector),
        "LANES": num_warps * 32,
        "VECTOR": vector,
        "num_warps": num_warps,
        "enable_fp_fusion": True,
        **_registers(temperatures),
    }


def _registers(temperatures: int) -> dict[str, int]:
    """Most registers a thread, for several temperatures. Left alone, ptxas spills to fit more programs."""
    if temperatures == 1:
        return {}
    return {"maxnreg": 128 if temperatures <= 4 else 208}


def backward_options(width: int, temperatures: int) -> dict[str, Any]:
    """Compile-time arguments of the backward pass."""
    block = min(max(triton.next_power_of_2(width), 32), BACKWARD_BLOCK)
    num_warps = min(max(block // 256, 1), 8)
    return {"K": temperatures, "BLOCK": block, "num_warps": num_warps, "enable_fp_fusion": True}


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
    K: tl.constexpr,
    STEPS: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    row_logits = logits + row * logits_row_stride
    position = tl.load(tokens + row) - lo
    inside = (position >= 0) & (position < width)
    chosen = tl.load(row_logits + position * logits_stride, mask=inside, other=-float("inf")).to(tl.float32)
    BLOCK: tl.constexpr = STEPS * LANES * VECTOR
    lanes = tl.arange(0, LANES)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
    pointers = row_logits + lanes.to(tl.int64) * logits_stride
    step_stride = logits_stride * tl.full([], LANES * VECTOR, tl.int64)
    blocks = (width + BLOCK - 1) // BLOCK
    full = width // BLOCK

    scales = ()
    totals = ()
    weighted = ()
    for k in tl.static_range(K):
        temperature = tl.load(temperatures + row * K + k)
        scales = scales + (exponent_scale(temperature, temperature == 0.0),)
        totals = totals + (tl.zeros([LANES], tl.float32),)
        weighted = weighted + (tl.zeros([LANES], tl.float32),)
    maxima = tl.full([LANES], -float("inf"), tl.float32)

    # Each lane has its own maximum and sums, so that no lane waits for others until the row ends.
    ahead = ()
    for step in tl.static_range(STEPS):
        is_inside = step * LANES * VECTOR + lanes < width
        ahead = ahead + (tl.load(pointers + step * step_stride, mask=is_inside, other=0.0),)
    for block in range(0, full):
        values = ()
        following = ()
        start = pointers + tl.minimum(block + 1, full - 1) * STEPS * step_stride
        for step in tl.static_range(STEPS):
            values = values + (ahead[step].to(tl.float32),)
            following = following + (tl.load(start + step * step_stride),)
        ahead = following
        maxima, totals, weighted = _add_tile(values, scales, maxima, totals, weighted, STEPS, K, False)
    maxima, totals, weighted = _add_blocks(
        row_logits, logits_stride, width, scales, maxima, totals, weighted, full, blocks, lanes, STEPS, K
    )  # the last block, which the row may not fill
    # If -inf made a sum NaN, all blocks again, with care. Usually this loop is empty.
    again = _has_nan(weighted, K)
    new_totals = ()
    new_weighted = ()
    for k in tl.static_range(K):
        new_totals = new_totals + (tl.where(again, 0.0, totals[k]),)
        new_weighted = new_weighted + (tl.where(again, 0.0, weighted[k]),)
    maxima = tl.where(again, -float("inf"), maxima)
    maxima, totals, weighted = _add_blocks(
        row_logits,
        logits_stride,
        width,
        scales,
        maxima,
        new_totals,
        new_weighted,
        0,
        tl.where(again, blocks, 0),
        lanes,
        STEPS,
        K,
    )
    maximum = tl.max(maxima, 0)

    any_greedy = False
    for k in tl.static_range(K):
        any_greedy = any_greedy | (tl.load(temperatures + row * K + k) == 0.0)
    first = 0
    if any_greedy:
        first = _first_equal(row_logits, logits_stride, width, maximum, BLOCK)
    for k in tl.static_range(K):
        column = row * K + k
        temperature = tl.load(temperatures + column)
        is_greedy = temperature == 0.0
        shifts = tl.maximum((maxima - finite_or_zero(maximum)) * scales[k], SMALLEST_EXPONENT)
        factors = tl.exp2(shifts)
        total = tl.sum(factors * totals[k], 0)
        weighted_total = tl.sum(factors * (weighted[k] + shifts * totals[k]), 0)
        valid = is_valid(total, maximum, temperature) & inside
        logprob, entropy = statistics((chosen - maximum) * scales[k], total, weighted_total)
        logprob = tl.where(is_greedy, tl.where(position == first, 0.0, -float("inf")), logprob)
        regular = valid & (is_greedy == 0)
        tl.store(logprobs + column, tl.where(valid, logprob, -float("inf")))
        tl.store(entropies + column, tl.where(regular, entropy, 0.0))
        tl.store(kept + column, tl.where(regular, maximum, 0.0))
        tl.store(kept + rows.to(tl.int64) * K + column, tl.where(regular, total, 0.0))
        tl.store(kept + rows.to(tl.int64) * (2 * K) + column, tl.where(regular, weighted_total, 0.0))


@triton.jit
def _add_blocks(
    row_logits,
    stride,
    width,
    scales,
    maxima,
    totals,
    weighted,
    first,
    last,
    lanes,
    STEPS: tl.constexpr,
    K: tl.constexpr,
):
    """Each lane's maximum and sums, with the blocks ``first`` to ``last`` added with care."""
    LANE_VALUES: tl.constexpr = lanes.shape[0] * lanes.shape[1]
    for block in range(first, last):
        values = ()
        for step in tl.static_range(STEPS):
            offsets = (block * STEPS + step) * LANE_VALUES + lanes
            values = values + (load_logits(row_logits, offsets, stride, width),)
        maxima, totals, weighted = _add_tile(values, scales, maxima, totals, weighted, STEPS, K, True)
    return maxima, totals, weighted


@triton.jit
def _add_tile(
    values, scales, maxima, totals, weighted, STEPS: tl.constexpr, K: tl.constexpr, CAREFUL: tl.constexpr
):
    """Each lane's maximum and sums, with its values of a tile added: ``STEPS`` times ``[LANES, VECTOR]``."""
    best = values[0]
    for step in tl.static_range(1, STEPS):
        best = tl.maximum(best, values[step])
    higher = tl.maximum(maxima, tl.max(best, 1))
    base = finite_or_zero(higher)
    distances = ()
    for step in tl.static_range(STEPS):
        distances = distances + (values[step] - base[:, None],)
    shift = maxima - base  # -inf in the first tile, where the sums are 0
    new_totals = ()
    new_weighted = ()
    for k in tl.static_range(K):
        shifts = tl.maximum(shift * scales[k], SMALLEST_EXPONENT)
        factors = tl.exp2(shifts)
        weight_sums = tl.zeros(best.shape, tl.float32)
        term_sums = tl.zeros(best.shape, tl.float32)
        for step in tl.static_range(STEPS):
            exponents = distances[step] * scales[k]
            weights = tl.exp2(exponents)
            weight_sums += weights
            term_sums += weighted_exponents(weights, exponents) if CAREFUL else weights * exponents
        new_weighted = new_weighted + (factors * (weighted[k] + shifts * totals[k]) + tl.sum(term_sums, 1),)
        new_totals = new_totals + (factors * totals[k] + tl.sum(weight_sums, 1),)
    return higher, new_totals, new_weighted


@triton.jit
def _has_nan(weighted, K: tl.constexpr):
    sums = weighted[0]
    for k in tl.static_range(1, K):
        sums += weighted[k]
    total = tl.sum(sums, 0)
    return total != total


@triton.jit
def _first_equal(row_logits, stride, width, value, BLOCK: tl.constexpr):
    """The lowest offset that holds ``value``, or ``width``."""
    first = width
    for start in range(0, width, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        values = load_logits(row_logits, offsets, stride, width)
        first = tl.minimum(first, tl.min(tl.where(values == value, offsets, width), 0))
    return first


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
    grad_logprobs_row_stride,
    grad_logprobs_stride,
    grad_entropies_row_stride,
    grad_entropies_stride,
    grad_logits_row_stride,
    rows,
    lo,
    width,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    values = load_logits(logits + row * logits_row_stride, offsets, logits_stride, width)
    grads = tl.zeros([BLOCK], tl.float32)
    at_token = 0.0
    for k in tl.static_range(K):
        column = row * K + k
        total = tl.load(kept + rows.to(tl.int64) * K + column)
        if total > 0.0:  # temperatures without gradient add nothing, not even NaN
            temperature = tl.load(temperatures + column)
            scale = tl.minimum(LOG2_E / temperature, LARGEST_SCALE)
            exponents = (values - tl.load(kept + column)) * scale
            weights = tl.exp2(exponents)
            inverse_temperature = 1.0 / tl.maximum(temperature, SMALLEST_GRADIENT_TEMPERATURE)
            at_weight = 0.0
            if grad_logprobs is not None:
                pointer = grad_logprobs + row * grad_logprobs_row_stride + k * grad_logprobs_stride
                at_logprob = tl.load(pointer).to(tl.float32) * inverse_temperature
                at_token += at_logprob
                at_weight = at_logprob / total
            if grad_entropies is not None:
                pointer = grad_entropies + row * grad_entropies_row_stride + k * grad_entropies_stride
                at_exponent = tl.load(pointer).to(tl.float32) * inverse_temperature * LN_2 / total
                mean = tl.load(kept + rows.to(tl.int64) * (2 * K) + column) / total
                at_weight -= at_exponent * mean
                grads -= weights * (at_exponent * tl.maximum(exponents, SMALLEST_EXPONENT) + at_weight)
            else:
                grads -= weights * at_weight
    if grad_logprobs is not None:
        # A token beyond 32 bits is outside the window: its row has no gradient.
        position = (tl.load(tokens + row) - lo).to(tl.int32)
        grads += tl.where(offsets == position, at_token, 0.0)
    pointers = grad_logits + row * grad_logits_row_stride + offsets
    tl.store(pointers, grads.to(grad_logits.dtype.element_ty), mask=offsets < width)
