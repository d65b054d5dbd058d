"""``sample_tokens`` on a GPU: two Triton kernels, one launch a call.

A window of at most one chunk is held in registers (``_sample_one_chunk``). A wider one is read once in tiles
of whole chunks, keeping each chunk's weight; the chosen chunk is then read again (``_sample_many_chunks``).

Weights are float32. Where a draw falls within ``MARGIN`` of a boundary between two candidates, float32 could
choose otherwise than the float64 reference, so that row is decided again in float64: the token is the same on
every path.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl
from torch import Tensor

from ttrl_env.kernels.row_sums_triton import (
    SMALLEST_EXPONENT,
    exponent_scale,
    finite_or_zero,
    is_valid,
    load_logits,
    statistics,
    weighted_exponents,
)
from ttrl_env.kernels.sampling_reference import CHUNK

if TYPE_CHECKING:
    from ttrl_env.kernels.sampling import SampledTokens

TILE_CHUNKS = 4
"""Chunks read at once where the window is wider than one chunk."""

LARGEST_WIDTH = 2**20
"""A program keeps the weight of each chunk in registers; beyond this they would spill."""

MARGIN = tl.constexpr(2.0**-19)
"""Of the total weight: a draw nearer than this to a boundary is decided again in float64."""
NEAR = tl.constexpr(2**13)
"""More than there are chunks or tokens in one."""


def launch_sample_tokens(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    step: int | Tensor,
    greedy: Tensor | None,
    lo: int,
    out: SampledTokens,
) -> None:
    """Fill ``out`` from ``logits`` ``[rows, width]``, already cut at ``lo``; at least one row."""
    rows, width = logits.shape
    if width > LARGEST_WIDTH:
        raise ValueError(f"logits: expected a window of at most {LARGEST_WIDTH} tokens on a GPU, got {width}")
    if width <= CHUNK:
        kernel, options = _sample_one_chunk, one_chunk_options(width)
    else:
        kernel, options = _sample_many_chunks, many_chunks_options(width)
    kernel[(rows,)](
        logits,
        temperatures.contiguous(),
        seeds.contiguous(),
        step,
        None if greedy is None else greedy.contiguous(),
        out.tokens,
        out.logprobs,
        out.entropies,
        out.valid,
        logits.stride(0),
        logits.stride(1),
        lo,
        width,
        STEP_IN_MEMORY=isinstance(step, Tensor),
        **options,
    )


def one_chunk_options(width: int) -> dict[str, Any]:
    """Compile-time arguments for a window of at most one chunk."""
    block = max(triton.next_power_of_2(width), 32)
    return {"BLOCK": block, "num_warps": max(block // 256, 1), "enable_fp_fusion": True}


def many_chunks_options(width: int) -> dict[str, Any]:
    """Compile-time arguments for a wider window."""
    tiles = triton.cdiv(width, TILE_CHUNKS * CHUNK)
    return {
        "TILES": triton.next_power_of_2(tiles),
        "TILE_CHUNKS": TILE_CHUNKS,
        "CHUNK": CHUNK,
        "num_warps": 4,
        "maxnreg": 80,  # six blocks share a multiprocessor, and ptxas has no reason to spill for more
        "enable_fp_fusion": True,
    }


@triton.jit(do_not_specialize=["step", "lo"])
def _sample_one_chunk(
    logits,
    temperatures,
    seeds,
    step,
    greedy,
    tokens,
    logprobs,
    entropies,
    valids,
    logits_row_stride,
    logits_stride,
    lo,
    width,
    STEP_IN_MEMORY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature, is_greedy = _row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < width
    values = load_logits(logits + row * logits_row_stride, offsets, logits_stride, width)

    maximum = tl.max(values, 0)
    exponents = (values - finite_or_zero(maximum)) * scale
    weights = tl.exp2(exponents)
    total = tl.sum(weights, 0)
    weighted = tl.sum(weighted_exponents(weights, exponents), 0)
    valid = is_valid(total, maximum, temperature)

    if is_greedy | (valid == 0):
        position = tl.min(tl.where(inside & (values == maximum), offsets, width - 1), 0)
    else:
        uniforms = row_uniforms(seeds + row, step, STEP_IN_MEMORY)
        position, certain = _inverse_cumulative(weights, total, uniforms[1])
        if certain == 0:
            position = _exact_inverse_cumulative(_exact_weights(values, maximum, temperature), uniforms[1])
    chosen = tl.sum(tl.where(offsets == position, values, 0.0), 0)
    logprob, entropy = statistics(chosen, maximum, scale, total, weighted)
    _store(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)


@triton.jit(do_not_specialize=["step", "lo"])
def _sample_many_chunks(
    logits,
    temperatures,
    seeds,
    step,
    greedy,
    tokens,
    logprobs,
    entropies,
    valids,
    logits_row_stride,
    logits_stride,
    lo,
    width,
    STEP_IN_MEMORY: tl.constexpr,
    TILES: tl.constexpr,
    TILE_CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature, is_greedy = _row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    row_logits = logits + row * logits_row_stride
    tile_offsets = tl.arange(0, TILE_CHUNKS)[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    tile_ids = tl.arange(0, TILES)

    # One pass. Sums are relative to the maximum so far, which is kept beside them.
    maximum = -float("inf")
    tile_maxima = tl.full([TILES], -float("inf"), tl.float32)
    tile_weighted = tl.zeros([TILES], tl.float32)
    chunk_weights = tl.zeros([TILES, TILE_CHUNKS], tl.float32)
    for start in range(0, width, TILE_CHUNKS * CHUNK):
        values = load_logits(row_logits, start + tile_offsets, logits_stride, width)
        maximum = tl.maximum(maximum, tl.max(values))
        exponents = (values - finite_or_zero(maximum)) * scale
        weights = tl.exp2(exponents)
        is_tile = tile_ids == start // (TILE_CHUNKS * CHUNK)
        tile_maxima = tl.where(is_tile, maximum, tile_maxima)
        tile_weighted = tl.where(is_tile, tl.sum(weighted_exponents(weights, exponents)), tile_weighted)
        chunk_weights = tl.where(is_tile[:, None], tl.sum(weights, 1)[None, :], chunk_weights)

    shifts = tl.maximum((tile_maxima - finite_or_zero(maximum)) * scale, SMALLEST_EXPONENT)
    factors = tl.exp2(shifts)
    tile_weights = tl.sum(chunk_weights, 1)
    total = tl.sum(tile_weights * factors, 0)
    weighted = tl.sum(factors * (tile_weighted + shifts * tile_weights), 0)
    valid = is_valid(total, maximum, temperature)

    if is_greedy | (valid == 0):
        tile = tl.min(tl.where(tile_maxima == maximum, tile_ids, TILES - 1), 0)
        offsets = tile * TILE_CHUNKS * CHUNK + tile_offsets
        position = _first_maximum(row_logits, offsets, logits_stride, width, maximum)
    else:
        uniforms = row_uniforms(seeds + row, step, STEP_IN_MEMORY)
        flat_weights = tl.reshape(chunk_weights * factors[:, None], [TILES * TILE_CHUNKS])
        position = _draw_from_chunks(
            row_logits,
            logits_stride,
            width,
            temperature,
            scale,
            maximum,
            total,
            flat_weights,
            uniforms,
            CHUNK,
        )
    chosen = tl.load(row_logits + position.to(tl.int64) * logits_stride).to(tl.float32)
    logprob, entropy = statistics(chosen, maximum, scale, total, weighted)
    _store(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)


@triton.jit
def _row_temperature(temperatures, greedy, row):
    temperature = tl.load(temperatures + row)
    is_greedy = temperature == 0.0
    if greedy is not None:
        is_greedy = is_greedy | (tl.load(greedy + row) != 0)
    return temperature, is_greedy


@triton.jit
def row_uniforms(seed_pointer, step, STEP_IN_MEMORY: tl.constexpr):
    """Chunk and token uniform, float64 multiples of 2^-53 in [0, 1); see philox.py."""
    seed = tl.load(seed_pointer)
    count = tl.load(step).to(tl.int64) if STEP_IN_MEMORY else step.to(tl.int64)
    zero = (count * 0).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, count.to(tl.uint32), (count >> 32).to(tl.uint32), zero, zero)
    return _uniform(w0, w1), _uniform(w2, w3)


@triton.jit
def _uniform(high, low):
    word = (high.to(tl.uint64) << 21) | (low.to(tl.uint64) >> 11)
    return word.to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def _first_maximum(row_logits, offsets, stride, width, maximum):
    """The lowest of ``offsets`` that holds the maximum; something inside the row for a row without one."""
    values = load_logits(row_logits, offsets, stride, width)
    return tl.min(tl.where((values == maximum) & (offsets < width), offsets, width - 1))


@triton.jit
def _draw_from_chunks(
    row_logits,
    stride,
    width,
    temperature,
    scale,
    maximum,
    total,
    chunk_weights,
    uniforms,
    CHUNK: tl.constexpr,
):
    chunk_ids = tl.arange(0, chunk_weights.shape[0])
    chunk, certain = _inverse_cumulative(chunk_weights, total, uniforms[0])
    if certain == 0:
        exact = _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK)
        chunk = _exact_inverse_cumulative(exact, uniforms[0])
    chunk_weight = tl.sum(tl.where(chunk_ids == chunk, chunk_weights, 0.0), 0)
    values = load_logits(row_logits, chunk * CHUNK + tl.arange(0, CHUNK), stride, width)
    index, certain = _inverse_cumulative(tl.exp2((values - maximum) * scale), chunk_weight, uniforms[1])
    if certain == 0:
        index = _exact_inverse_cumulative(_exact_weights(values, maximum, temperature), uniforms[1])
    return chunk * CHUNK + index


@triton.jit
def _inverse_cumulative(weights, total, uniform):
    """First index whose cumulative weight exceeds ``uniform * total``, and whether float32 is sure of it.

    It is, unless some cumulative weight is nearer to that than the margin. Only the running sum is float64:
    in float32, a likely token would swallow the unlikely ones that come after it.
    """
    cumulative = tl.cumsum(weights.to(tl.float64), 0).to(tl.float32)
    threshold = (uniform * total.to(tl.float64)).to(tl.float32)
    below = tl.where(cumulative <= threshold, 1, 0)
    near = tl.where(tl.abs(cumulative - threshold) <= MARGIN * total, NEAR, 0)
    counts = tl.sum(below + near, 0)  # both in one reduction
    return counts % NEAR, counts < NEAR


@triton.jit
def _exact_inverse_cumulative(weights, uniform):
    """The same from float64 weights, and the last index with any weight where none exceeds it."""
    cumulative = tl.cumsum(weights, 0)
    total = tl.max(cumulative, 0)
    reached = (cumulative <= uniform * total) & (cumulative < total)
    return tl.sum(reached.to(tl.int32), 0)


@triton.jit
def _exact_weights(values, maximum, temperature):
    return tl.exp((values.to(tl.float64) - maximum.to(tl.float64)) / temperature.to(tl.float64))


@triton.jit
def _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK: tl.constexpr):
    """Each chunk's weight in float64: the whole row again, for about one row in ten thousand."""
    weights = tl.zeros(chunk_ids.shape, tl.float64)
    for start in range(0, width, CHUNK):
        values = load_logits(row_logits, start + tl.arange(0, CHUNK), stride, width)
        weight = tl.sum(_exact_weights(values, maximum, temperature), 0)
        weights = tl.where(chunk_ids == start // CHUNK, weight, weights)
    return weights


@triton.jit
def _store(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy):
    tl.store(tokens + row, lo + tl.where(valid, position, 0).to(tl.int64))
    tl.store(logprobs + row, tl.where(valid, tl.where(is_greedy, 0.0, logprob), -float("inf")))
    tl.store(entropies + row, tl.where(valid & (is_greedy == 0), entropy, 0.0))
    tl.store(valids + row, valid)
