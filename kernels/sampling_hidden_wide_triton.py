"""``sample_from_hidden`` on a GPU for windows of more than 256 tokens: two launches, no logits in memory.

``_sum_tiles`` multiplies a tile of rows and tokens. It stores the tile's maximum and sums, and the weight of
each block of 16 tokens: a fourteenth of the logits' memory. For each row, ``_sample_in_tiles`` picks a chunk
by these sums and then a block of it. It multiplies the block's 16 tokens again to pick one.

Unlike in the other paths, a sample near a boundary is not decided again in float64: that would take all
logits of the row once more. Such a row, one in thousands, may get the token on the other side of the
boundary. The rounding of any matrix product has the same effect.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ttrl_env.kernels.head_triton import multiply, product_options
from ttrl_env.kernels.row_sums_triton import (
    SMALLEST_EXPONENT,
    exponent_scale,
    finite_or_zero,
    is_valid,
    statistics,
    weighted_exponents,
)
from ttrl_env.kernels.sampling_parts_triton import (
    exact_inverse_cumulative,
    row_temperature,
    row_uniforms,
    store_sample,
)
from ttrl_env.kernels.sampling_reference import CHUNK
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs

TILE_TOKENS = 256
TILE_ROWS = {torch.float16: 128, torch.bfloat16: 128, torch.float32: 64}
"""Rows that fit into the registers: float32, multiplied without tensor cores, takes more registers."""
BLOCK = 16
"""Tokens in a block. Only a block's total weight is stored; the sampled block is multiplied again."""
LARGEST_WIDTH = 2**20
"""Widest window. A program keeps three numbers of each tile in registers; with more they would spill."""


def launch_sample_wide(
    hidden: Tensor, weight: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens
) -> None:
    """``launch_sample_from_hidden`` for a window of up to ``LARGEST_WIDTH`` tokens."""
    (rows, dim), width = hidden.shape, weight.shape[0]
    if width > LARGEST_WIDTH:
        raise ValueError(
            f"head_weight: expected a window of at most {LARGEST_WIDTH} tokens on a GPU, got {width}"
        )
    tiles = triton.cdiv(width, TILE_TOKENS)
    tile_sums = hidden.new_empty((3, rows, tiles), dtype=torch.float32)
    block_weights = hidden.new_empty((rows, tiles * (TILE_TOKENS // BLOCK)), dtype=torch.float32)
    temperatures, seeds, step, greedy = sampling.contiguous()
    inputs = (hidden, weight, temperatures, greedy)
    strides = (hidden.stride(0), hidden.stride(1), weight.stride(0), weight.stride(1))
    upcast = hidden.device.type == "cpu"
    _sum_tiles[(triton.cdiv(rows, TILE_ROWS[hidden.dtype]), tiles)](
        *inputs, tile_sums, block_weights, *strides, rows, width, dim, upcast, **tile_options(hidden.dtype)
    )
    _sample_in_tiles[(rows,)](
        *inputs,
        seeds,
        step,
        tile_sums,
        block_weights,
        *out.tensors(),
        *strides,
        rows,
        lo,
        width,
        dim,
        upcast,
        STEP_IN_MEMORY=isinstance(sampling.step, Tensor),
        **sample_options(width, hidden.dtype),
    )


def tile_options(dtype: torch.dtype) -> dict[str, Any]:
    """Compile-time arguments of ``_sum_tiles``."""
    return {
        "TILE_ROWS": TILE_ROWS[dtype],
        "TILE_TOKENS": TILE_TOKENS,
        "BLOCK": BLOCK,
        **product_options(dtype, num_warps=8),
    }


def sample_options(width: int, dtype: torch.dtype) -> dict[str, Any]:
    """Compile-time arguments of ``_sample_in_tiles``."""
    return {
        "CHUNKS": triton.next_power_of_2(triton.cdiv(width, CHUNK)),
        "CHUNK_TILES": CHUNK // TILE_TOKENS,
        "TILE_BLOCKS": TILE_TOKENS // BLOCK,
        "BLOCK": BLOCK,
        **product_options(dtype, num_warps=4),
        "TILE_DIMS": 128 if dtype == torch.float32 else 256,  # few tokens, so long reads of each
    }


@triton.jit(do_not_specialize=["rows"])
def _sum_tiles(
    hidden,
    weight,
    temperatures,
    greedy,
    tile_sums,
    block_weights,
    hidden_row_stride,
    hidden_stride,
    weight_row_stride,
    weight_stride,
    rows,
    width,
    dim,
    UPCAST: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_DIMS: tl.constexpr,
):
    ids = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    row = tl.minimum(ids, rows - 1)
    tile = tl.program_id(1)
    tiles = tl.num_programs(1)
    offsets = tile * TILE_TOKENS + tl.arange(0, TILE_TOKENS)
    products = multiply(
        hidden + row * hidden_row_stride,
        hidden_stride,
        weight + tl.minimum(offsets, width - 1).to(tl.int64) * weight_row_stride,
        weight_stride,
        0,
        dim,
        TILE_DIMS,
        UPCAST,
    )
    values = tl.where((offsets < width)[None, :], products, -float("inf"))

    temperature, is_greedy = row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    maximum = tl.max(values, 1)
    exponents = (values - finite_or_zero(maximum)[:, None]) * scale[:, None]
    weights = tl.exp2(exponents)
    weighted = tl.sum(weighted_exponents(weights, exponents), 1)
    # NaN passes the comparison and makes the row invalid.
    weights = tl.where(exponents < _least_exponent(is_greedy)[:, None], 0.0, weights)
    blocks = tl.sum(tl.reshape(weights, [TILE_ROWS, TILE_TOKENS // BLOCK, BLOCK]), 2)

    inside = ids < rows
    sums = tile_sums + row * tiles + tile
    plane = rows.to(tl.int64) * tiles
    tl.store(sums, maximum, inside)
    tl.store(sums + plane, tl.sum(blocks, 1), inside)
    tl.store(sums + plane * 2, weighted, inside)
    columns = tile * (TILE_TOKENS // BLOCK) + tl.arange(0, TILE_TOKENS // BLOCK)
    pointers = block_weights + (row * tiles * (TILE_TOKENS // BLOCK))[:, None] + columns[None, :]
    tl.store(pointers, blocks, inside[:, None])


@triton.jit(do_not_specialize=["step", "rows", "lo"])
def _sample_in_tiles(
    hidden,
    weight,
    temperatures,
    greedy,
    seeds,
    step,
    tile_sums,
    block_weights,
    tokens,
    logprobs,
    entropies,
    valids,
    hidden_row_stride,
    hidden_stride,
    weight_row_stride,
    weight_stride,
    rows,
    lo,
    width,
    dim,
    UPCAST: tl.constexpr,
    STEP_IN_MEMORY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK_TILES: tl.constexpr,
    TILE_BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE_DIMS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    temperature, is_greedy = row_temperature(temperatures, greedy, row)
    scale = exponent_scale(temperature, is_greedy)
    tiles = (width + TILE_BLOCKS * BLOCK - 1) // (TILE_BLOCKS * BLOCK)
    tile_ids = tl.arange(0, CHUNKS)[:, None] * CHUNK_TILES + tl.arange(0, CHUNK_TILES)[None, :]
    sums = tile_sums + row * tiles + tile_ids
    plane = rows.to(tl.int64) * tiles
    tile_maxima = tl.load(sums, tile_ids < tiles, other=-float("inf"))
    tile_totals = tl.load(sums + plane, tile_ids < tiles, other=0.0)
    tile_weighted = tl.load(sums + plane * 2, tile_ids < tiles, other=0.0)

    maximum = tl.max(tile_maxima)
    factors, shifts = _tile_factors(tile_maxima, maximum, scale, is_greedy)
    total = tl.sum(tile_totals * factors)
    weighted = tl.sum(factors * (tile_weighted + shifts * tile_totals))
    valid = is_valid(total, maximum, temperature)

    uniforms = row_uniforms(seeds + row, step, STEP_IN_MEMORY)
    chunk_weights = tl.sum((tile_totals * factors).to(tl.float64), 1)
    chunk = exact_inverse_cumulative(chunk_weights, tl.where(is_greedy, 0.0, uniforms[0]))
    chunk = tl.where(valid, chunk, 0)

    # Pick a block of the chunk by the blocks' weights, then a token in it by what remains of the uniform.
    block_ids = chunk * CHUNK_TILES * TILE_BLOCKS + tl.arange(0, CHUNK_TILES * TILE_BLOCKS)
    inside = block_ids < tiles * TILE_BLOCKS
    blocks = tl.load(block_weights + row * tiles * TILE_BLOCKS + block_ids, inside, other=0.0)
    own_tiles = tl.load(tile_sums + row * tiles + block_ids // TILE_BLOCKS, inside, other=-float("inf"))
    own_factors, _shifts = _tile_factors(own_tiles, maximum, scale, is_greedy)
    block, remainder = _inverse_cumulative_remainder(
        (blocks * own_factors).to(tl.float64), tl.where(is_greedy, 0.0, uniforms[1])
    )
    first = tl.where(valid, (chunk * CHUNK_TILES * TILE_BLOCKS + block) * BLOCK, 0)

    offsets = first + tl.arange(0, BLOCK)
    products = multiply(
        hidden + row * hidden_row_stride + tl.zeros([BLOCK], tl.int64),
        hidden_stride,
        weight + tl.minimum(offsets, width - 1).to(tl.int64) * weight_row_stride,
        weight_stride,
        0,
        dim,
        TILE_DIMS,
        UPCAST,
    )
    values = tl.where(offsets < width, tl.max(products, 0), -float("inf"))  # all 16 rows are the same
    best = tl.max(values, 0)
    exponents = (values - finite_or_zero(best)) * scale
    weights = tl.where(exponents < _least_exponent(is_greedy), 0.0, tl.exp2(exponents))
    index = exact_inverse_cumulative(weights.to(tl.float64), remainder)

    chosen = tl.sum(tl.where(tl.arange(0, BLOCK) == index, values, 0.0), 0)
    logprob, entropy = statistics((chosen - maximum) * scale, total, weighted)
    outputs = (tokens, logprobs, entropies, valids)
    store_sample(row, *outputs, lo, first + index, logprob, entropy, valid, is_greedy)


@triton.jit
def _tile_factors(tile_maxima, maximum, scale, is_greedy):
    """The rescaling of a tile's sums to the row's maximum, as a factor and as a base-2 exponent."""
    shifts = tl.maximum((tile_maxima - finite_or_zero(maximum)) * scale, SMALLEST_EXPONENT)
    return tl.where(shifts < _least_exponent(is_greedy), 0.0, tl.exp2(shifts)), shifts


@triton.jit
def _least_exponent(is_greedy):
    """The exponent below which a weight counts as 0.

    In a greedy row only the maxima, whose exponent is 0, have weight.
    """
    return tl.where(is_greedy, 0.0, -float("inf"))


@triton.jit
def _inverse_cumulative_remainder(weights, uniform):
    """``exact_inverse_cumulative``, and the fraction in [0, 1] of that index's weight below the threshold."""
    index = exact_inverse_cumulative(weights, uniform)
    ids = tl.arange(0, weights.shape[0])
    below = tl.sum(tl.where(ids < index, weights, 0.0), 0)
    own = tl.sum(tl.where(ids == index, weights, 0.0), 0)
    remainder = (uniform * tl.sum(weights, 0) - below) / own
    return index, tl.minimum(tl.maximum(remainder, 0.0), 1.0)
