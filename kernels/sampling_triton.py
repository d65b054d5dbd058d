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

TILE_CHUNKS = 8
"""Chunks read at once where the window is wider than one chunk."""

LARGEST_WIDTH = 2**22
"""A program keeps the weight of each chunk in registers; beyond this they would spill."""

MARGIN = tl.constexpr(2.0**-20)
"""Of the total weight: a draw nearer than this to a boundary is decided again in float64."""


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
        "num_warps": 8,
        "maxnreg": 80,  # three blocks share a multiprocessor, and ptxas has no reason to spill for a fourth
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
        cumulative = tl.cumsum(weights, 0)
        position, certain = _inverse_cumulative(cumulative, offsets, uniforms[1], MARGIN)
        if certain == 0:
            exact = _exact_weights(values, maximum, temperature)
            position, _certain = _inverse_cumulative(tl.cumsum(exact, 0), offsets, uniforms[1], 0.0)
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
        values = load_logits(row_logits, offsets, logits_stride, width)
        position = tl.min(tl.where((values == maximum) & (offsets < width), offsets, width - 1))
    else:
        chunk_uniform, token_uniform = row_uniforms(seeds + row, step, STEP_IN_MEMORY)
        chunk_ids = tl.arange(0, TILES * TILE_CHUNKS)
        cumulative = tl.cumsum(tl.reshape(chunk_weights * factors[:, None], [TILES * TILE_CHUNKS]), 0)
        chunk, certain = _inverse_cumulative(cumulative, chunk_ids, chunk_uniform, MARGIN)
        if certain == 0:
            chunk = _exact_chunk(
                row_logits, logits_stride, width, maximum, temperature, chunk_ids, chunk_uniform, CHUNK
            )
        position = _token_in_chunk(
            row_logits, logits_stride, width, temperature, scale, chunk, token_uniform, CHUNK
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
def _inverse_cumulative(cumulative, ids, uniform, margin):
    """First index whose cumulative weight exceeds ``uniform * total``, and whether it is so by ``margin``."""
    cumulative = cumulative.to(tl.float64)
    total = tl.max(cumulative, 0)
    threshold = uniform * total
    reached = (cumulative <= threshold) & (cumulative < total)
    index = tl.sum(reached.to(tl.int32), 0)
    below = tl.max(tl.where(reached, cumulative, 0.0), 0)
    above = tl.min(tl.where(reached, total, cumulative), 0)
    slack = margin * total
    return index, (threshold - below > slack) & (above - threshold > slack)


@triton.jit
def _exact_weights(values, maximum, temperature):
    return tl.exp((values.to(tl.float64) - maximum.to(tl.float64)) / temperature.to(tl.float64))


@triton.jit
def _exact_chunk(row_logits, stride, width, maximum, temperature, chunk_ids, uniform, CHUNK: tl.constexpr):
    """The chunk, decided from float64 weights; taken by about one row in ten thousand."""
    weights = tl.zeros(chunk_ids.shape, tl.float64)
    for start in range(0, width, CHUNK):
        values = load_logits(row_logits, start + tl.arange(0, CHUNK), stride, width)
        weight = tl.sum(_exact_weights(values, maximum, temperature), 0)
        weights = tl.where(chunk_ids == start // CHUNK, weight, weights)
    chunk, _certain = _inverse_cumulative(tl.cumsum(weights, 0), chunk_ids, uniform, 0.0)
    return chunk


@triton.jit
def _token_in_chunk(row_logits, stride, width, temperature, scale, chunk, uniform, CHUNK: tl.constexpr):
    offsets = tl.arange(0, CHUNK)
    values = load_logits(row_logits, chunk * CHUNK + offsets, stride, width)
    maximum = tl.max(values, 0)
    cumulative = tl.cumsum(tl.exp2((values - maximum) * scale), 0)
    index, certain = _inverse_cumulative(cumulative, offsets, uniform, MARGIN)
    if certain == 0:
        exact = _exact_weights(values, maximum, temperature)
        index, _certain = _inverse_cumulative(tl.cumsum(exact, 0), offsets, uniform, 0.0)
    return chunk * CHUNK + index


@triton.jit
def _store(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy):
    tl.store(tokens + row, lo + tl.where(valid, position, 0).to(tl.int64))
    tl.store(logprobs + row, tl.where(valid, tl.where(is_greedy, 0.0, logprob), -float("inf")))
    tl.store(entropies + row, tl.where(valid & (is_greedy == 0), entropy, 0.0))
    tl.store(valids + row, valid)
