"""``sample_tokens`` on a GPU for windows of more than one chunk: one launch, one pass over the logits.

The programs of a row sum its chunks (``chunk_sums_triton``), each some tiles of them, and store the sums. The
last of them to arrive reads the sums of the whole row, picks a chunk, reads it again and picks a token. What
it computes does not depend on how many programs there are, so every split of a row gives the same bits.

With few rows a row is split, so that all multiprocessors have work. With many, each row is one program.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ttrl_env.kernels.chunk_sums_triton import needs_care, store_chunk_sums
from ttrl_env.kernels.row_sums_triton import (
    SMALLEST_EXPONENT,
    exponent_scale,
    finite_or_zero,
    is_valid,
    load_logits,
    statistics,
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
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs, empty_scratch

TILE_CHUNKS = 4
"""Chunks that a program reads at once: one for each of its warps."""
READ_BYTES = 32 * 16
"""Bytes of a chunk that a warp reads at once: 16 for each thread."""
LARGEST_WIDTH = 2**20
"""Widest window. The last program keeps the sums of all chunks in registers; with more they would spill."""
PROGRAMS_A_MULTIPROCESSOR = 4
"""Programs for which rows are split. More than one, since a program waits for memory."""


def launch_sample_wide_logits(
    logits: Tensor,
    sampling: SamplingInputs,
    lo: int,
    out: SampledTokens,
    splits: int | None = None,
) -> None:
    """Fill ``out`` from ``logits`` ``[rows, width]``, already cut at ``lo``; at least one row.

    ``splits`` is the number of programs a row, for tests; by default it follows from the rows and the device.
    """
    rows, width = logits.shape
    if width > LARGEST_WIDTH:
        raise ValueError(f"logits: expected a window of at most {LARGEST_WIDTH} tokens on a GPU, got {width}")
    splits = splits or choose_splits(rows, width, logits.device)
    options = wide_options(width, logits.element_size())
    sums, arrivals = out.scratch, out.arrivals
    if sums is None or sums.shape[1] < 4 * options["CHUNKS"]:
        sums = empty_scratch(rows, width, logits.device)
    if arrivals is None and splits > 1:
        arrivals = torch.zeros(rows, dtype=torch.int32, device=logits.device)
    _sample_wide[(rows, splits)](
        logits,
        *sampling.contiguous(),
        *out.tensors(),
        sums,
        arrivals if splits > 1 else None,
        sums.stride(0),
        logits.stride(0),
        logits.stride(1),
        lo,
        width,
        STEP_IN_MEMORY=isinstance(sampling.step, Tensor),
        **options,
    )


def choose_splits(rows: int, width: int, device: torch.device) -> int:
    """Programs a row: enough for all multiprocessors, at most one for each tile."""
    wanted = _multiprocessors(device) * PROGRAMS_A_MULTIPROCESSOR
    return max(1, min(triton.cdiv(width, TILE_CHUNKS * CHUNK), wanted // rows))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type == "cpu":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def wide_options(width: int, element_bytes: int) -> dict[str, Any]:
    """Compile-time arguments."""
    return {
        "CHUNKS": triton.next_power_of_2(max(triton.cdiv(width, CHUNK), TILE_CHUNKS)),
        "CHUNK": CHUNK,
        "TILE_CHUNKS": TILE_CHUNKS,
        "LANES": READ_BYTES // element_bytes,
        "num_warps": TILE_CHUNKS,
        "maxnreg": 96 if element_bytes == 2 else 104,  # five or four programs a multiprocessor
        "enable_fp_fusion": True,
    }


@triton.jit(do_not_specialize=["step", "lo"])
def _sample_wide(
    logits,
    temperatures,
    seeds,
    step,
    greedy,
    tokens,
    logprobs,
    entropies,
    valids,
    sums,
    arrivals,
    sums_row_stride,
    logits_row_stride,
    logits_stride,
    lo,
    width,
    STEP_IN_MEMORY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE_CHUNKS: tl.constexpr,
    LANES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature, is_greedy = row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    row_logits = logits + row * logits_row_stride
    row_sums = sums + row * sums_row_stride
    tiles = (width + TILE_CHUNKS * CHUNK - 1) // (TILE_CHUNKS * CHUNK)
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    first = tiles * split // splits
    last = tiles * (split + 1) // splits
    store_chunk_sums(
        row_sums,
        row_logits,
        logits_stride,
        width,
        scale,
        first,
        last,
        CHUNK,
        TILE_CHUNKS,
        LANES,
        False,
    )
    tl.debug_barrier()  # other warps read what this one stored
    others = 0
    if arrivals is not None:
        others = splits - 1 - tl.atomic_add(arrivals + row, 1)
    if others == 0:
        if arrivals is not None:
            tl.store(arrivals + row, 0)  # ready for the next call
        base, totals, weighted = _load_sums(row_sums, width, CHUNKS, CHUNK)
        is_careful = needs_care(base, weighted)
        if is_careful:
            tl.debug_barrier()  # all warps have read the former sums
            store_chunk_sums(
                row_sums,
                row_logits,
                logits_stride,
                width,
                scale,
                0,
                tiles,
                CHUNK,
                TILE_CHUNKS,
                LANES,
                True,
            )
            tl.debug_barrier()
            base, totals, weighted = _load_sums(row_sums, width, CHUNKS, CHUNK)
        _pick(
            row,
            row_logits,
            logits_stride,
            width,
            lo,
            temperature,
            is_greedy,
            scale,
            is_careful,
            base,
            totals,
            weighted,
            seeds,
            step,
            tokens,
            logprobs,
            entropies,
            valids,
            STEP_IN_MEMORY,
            CHUNK,
        )


@triton.jit
def _load_sums(sums, width, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    """Base, total and weighted exponents of each chunk, from the second-level cache, where others wrote."""
    ids = tl.arange(0, CHUNKS)
    inside = ids * CHUNK < width
    base = tl.load(sums + ids * 4, inside, other=-float("inf"), cache_modifier=".cg")
    totals = tl.load(sums + ids * 4 + 1, inside, other=0.0, cache_modifier=".cg")
    weighted = tl.load(sums + ids * 4 + 2, inside, other=0.0, cache_modifier=".cg")
    return base, totals, weighted


@triton.jit
def _pick(
    row,
    row_logits,
    stride,
    width,
    lo,
    temperature,
    is_greedy,
    scale,
    is_careful,
    bases,
    totals,
    weighted,
    seeds,
    step,
    tokens,
    logprobs,
    entropies,
    valids,
    STEP_IN_MEMORY: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Pick the row's token from the sums of its chunks and store the sample."""
    base = tl.max(bases, 0)
    shifts = (bases - finite_or_zero(base)) * tl.where(is_careful, scale, 1.0)
    shifts = tl.maximum(shifts, SMALLEST_EXPONENT)
    factors = tl.exp2(shifts)
    total = tl.sum(totals * factors, 0)
    weighted_total = tl.sum(factors * (weighted + shifts * totals), 0)
    valid = is_valid(total, base, temperature)

    chunk_ids = tl.arange(0, bases.shape[0])
    if is_greedy | (valid == 0):  # the scale of a greedy row is 1, so its base is its maximum
        chunk = tl.min(tl.where(bases == base, chunk_ids, bases.shape[0] - 1), 0)
        offsets = chunk * CHUNK + tl.arange(0, CHUNK)
        values = load_logits(row_logits, offsets, stride, width)
        position = tl.min(tl.where((values == base) & (offsets < width), offsets, width - 1), 0)
    else:
        maximum = tl.where(is_careful, base, base / scale)
        uniforms = row_uniforms(seeds + row, step, STEP_IN_MEMORY)
        chunk, certain = inverse_cumulative(totals * factors, total, uniforms[0])
        if certain == 0:
            exact = _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK)
            chunk = exact_inverse_cumulative(exact, uniforms[0])
        own_base = tl.sum(tl.where(chunk_ids == chunk, bases, 0.0), 0)
        own_total = tl.sum(tl.where(chunk_ids == chunk, totals, 0.0), 0)
        values = load_logits(row_logits, chunk * CHUNK + tl.arange(0, CHUNK), stride, width)
        weights = tl.exp2(_exponents(values, own_base, scale, is_careful))
        index, certain = inverse_cumulative(weights, own_total, uniforms[1])
        if certain == 0:
            index = exact_inverse_cumulative(exact_weights(values, maximum, temperature), uniforms[1])
        position = chunk * CHUNK + index
    chosen = tl.load(row_logits + position.to(tl.int64) * stride).to(tl.float32)
    exponent = _exponents(chosen, base, scale, is_careful)
    logprob, entropy = statistics(exponent, total, weighted_total)
    store_sample(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)


@triton.jit
def _exponents(values, base, scale, is_careful):
    """Base-2 exponents relative to a base as ``chunk_sums_triton`` defines it."""
    return tl.fma(values - tl.where(is_careful, base, 0.0), scale, -tl.where(is_careful, 0.0, base))


@triton.jit
def _exact_chunk_weights(row_logits, stride, width, maximum, temperature, chunk_ids, CHUNK: tl.constexpr):
    """Each chunk's weight in float64. This reads the whole row again, for about one row in ten thousand."""
    weights = tl.zeros(chunk_ids.shape, tl.float64)
    for start in range(0, width, CHUNK):
        values = load_logits(row_logits, start + tl.arange(0, CHUNK), stride, width)
        weight = tl.sum(exact_weights(values, maximum, temperature), 0)
        weights = tl.where(chunk_ids == start // CHUNK, weight, weights)
    return weights
