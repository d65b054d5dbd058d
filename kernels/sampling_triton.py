"""``sample_tokens`` on a GPU: two Triton kernels, one launch a call.

A window of at most one chunk is held in registers (``_sample_one_chunk``). A wider one is read once in tiles
of whole chunks, keeping each chunk's weight; the chosen chunk is then read again (``_sample_many_chunks``).

Weights are float32. Within ``MARGIN`` of a boundary between two candidates, float32 could choose another
token than the float64 reference. Such a row is decided again in float64, so every path gives the same token.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

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
from ttrl_env.kernels.sampling_parts_triton import (
    exact_inverse_cumulative,
    exact_weights,
    inverse_cumulative,
    row_temperature,
    row_uniforms,
    store_sample,
)
from ttrl_env.kernels.sampling_reference import CHUNK
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs

TILE_CHUNKS = 4
"""Chunks read at once where the window is wider than one chunk."""

LARGEST_WIDTH = 2**20
"""Widest window. A program keeps the weight of each chunk in registers; with more they would spill."""


def launch_sample_tokens(logits: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens) -> None:
    """Fill ``out`` from ``logits`` ``[rows, width]``, already cut at ``lo``; at least one row."""
    rows, width = logits.shape
    if width <= CHUNK:
        launch_sample_sums(logits, sampling, lo, out)
        return
    if width > LARGEST_WIDTH:
        raise ValueError(f"logits: expected a window of at most {LARGEST_WIDTH} tokens on a GPU, got {width}")
    _sample_many_chunks[(rows,)](
        logits,
        *sampling.contiguous(),
        *out.tensors(),
        logits.stride(0),
        logits.stride(1),
        lo,
        width,
        STEP_IN_MEMORY=isinstance(sampling.step, Tensor),
        **many_chunks_options(width),
    )


def launch_sample_sums(addends: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens) -> None:
    """``launch_sample_tokens`` for one chunk, from logits or from partial sums ``[splits, rows, width]``."""
    splits = addends.shape[0] if addends.ndim == 3 else 1
    rows, width = addends.shape[-2:]
    _sample_one_chunk[(rows,)](
        addends,
        *sampling.contiguous(),
        *out.tensors(),
        addends.stride(0) if addends.ndim == 3 else 0,
        addends.stride(-2),
        addends.stride(-1),
        lo,
        width,
        STEP_IN_MEMORY=isinstance(sampling.step, Tensor),
        **one_chunk_options(width, splits),
    )


def one_chunk_options(width: int, splits: int = 1) -> dict[str, Any]:
    """Compile-time arguments for a window of at most one chunk."""
    block = max(triton.next_power_of_2(width), 32)
    return {
        "SPLITS": splits,
        "BLOCK": block,
        "num_warps": max(block // 256, 1),
        "enable_fp_fusion": True,
    }


def many_chunks_options(width: int) -> dict[str, Any]:
    """Compile-time arguments for a wider window."""
    tiles = triton.cdiv(width, TILE_CHUNKS * CHUNK)
    return {
        "TILES": triton.next_power_of_2(tiles),
        "TILE_CHUNKS": TILE_CHUNKS,
        "CHUNK": CHUNK,
        "num_warps": 4,
        "maxnreg": 80,  # six blocks share a multiprocessor; ptxas need not spill registers to fit more
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
    logits_split_stride,
    logits_row_stride,
    logits_stride,
    lo,
    width,
    STEP_IN_MEMORY: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature, is_greedy = row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    offsets = tl.arange(0, BLOCK)
    inside = offsets < width
    row_logits = logits + row * logits_row_stride
    values = load_logits(row_logits, offsets, logits_stride, width)
    for split in tl.static_range(1, SPLITS):
        values += load_logits(row_logits + split * logits_split_stride, offsets, logits_stride, width)

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
        position, certain = inverse_cumulative(weights, total, uniforms[1])
        if certain == 0:
            position = exact_inverse_cumulative(exact_weights(values, maximum, temperature), uniforms[1])
    chosen = tl.sum(tl.where(offsets == position, values, 0.0), 0)
    logprob, entropy = statistics(chosen, maximum, scale, total, weighted)
    store_sample(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)


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
    temperature, is_greedy = row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    row_logits = logits + row * logits_row_stride
    tile_offsets = tl.arange(0, TILE_CHUNKS)[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    tile_ids = tl.arange(0, TILES)

    # One pass. Sums are relative to the maximum so far, which is stored with them.
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
        position = _sample_from_chunks(
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
    store_sample(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)


@triton.jit
def _first_maximum(row_logits, offsets, stride, width, maximum):
    """The lowest of ``offsets`` that holds the maximum, or the row's last offset if none does."""
    values = load_logits(row_logits, offsets, stride, width)
    return tl.min(tl.where((values == maximum) & (offsets < width), offsets, width - 1))


@triton.jit
def _sample_from_chunks(
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
    chunk, certain = inverse_cumulative(chunk_weights, total, uniforms[0])
    if certain == 0:
        exact = _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK)
        chunk = exact_inverse_cumulative(exact, uniforms[0])
    chunk_weight = tl.sum(tl.where(chunk_ids == chunk, chunk_weights, 0.0), 0)
    values = load_logits(row_logits, chunk * CHUNK + tl.arange(0, CHUNK), stride, width)
    index, certain = inverse_cumulative(tl.exp2((values - maximum) * scale), chunk_weight, uniforms[1])
    if certain == 0:
        index = exact_inverse_cumulative(exact_weights(values, maximum, temperature), uniforms[1])
    return chunk * CHUNK + index


@triton.jit
def _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK: tl.constexpr):
    """Each chunk's weight in float64. This reads the whole row again, for about one row in ten thousand."""
    weights = tl.zeros(chunk_ids.shape, tl.float64)
    for start in range(0, width, CHUNK):
        values = load_logits(row_logits, start + tl.arange(0, CHUNK), stride, width)
        weight = tl.sum(exact_weights(values, maximum, temperature), 0)
        weights = tl.where(chunk_ids == start // CHUNK, weight, weights)
    return weights
