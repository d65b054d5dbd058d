"""``sample_from_hidden`` on a GPU: the head's matrix product and the sampling, without the logits in memory.

There are three variants. The window and the dimensions decide between them, never the number of rows, so that
a row's sample does not change with the batch:

- up to 256 tokens and 1024 dimensions, one launch: a program multiplies and samples for 16 rows;
- up to 256 tokens and more dimensions, two launches: the dimensions are shared among programs, and
  ``_sample_one_chunk`` of ``sampling_triton`` adds up the partial sums it reads, in their order;
- more tokens: see ``sampling_hidden_wide_triton``.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ttrl_env.kernels.head_triton import multiply, partial_logits, product_options
from ttrl_env.kernels.row_sums_triton import (
    exponent_scale,
    finite_or_zero,
    is_valid,
    statistics,
    weighted_exponents,
)
from ttrl_env.kernels.sampling_hidden_wide_triton import launch_sample_wide
from ttrl_env.kernels.sampling_parts_triton import (
    MARGIN,
    exact_inverse_cumulative,
    exact_weights,
    row_temperature,
    row_uniforms,
    store_sample,
)
from ttrl_env.kernels.sampling_triton import launch_sample_sums
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs

LARGEST_WINDOW = 256
"""Most tokens whose logits a program keeps in registers, for each of its rows."""
LARGEST_DIM = 1024
"""Most dimensions for one launch: with more, reading the window's weights outlasts a second launch."""
TILE_ROWS = 16
BLOCK = tl.constexpr(16)
"""Number of weights in a block: the search for a token skips whole blocks before single weights."""


def launch_sample_from_hidden(
    hidden: Tensor, weight: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens
) -> None:
    """Fill ``out`` from ``hidden`` ``[rows, dim]`` and ``weight`` ``[width, dim]``; at least one row."""
    (rows, dim), width = hidden.shape, weight.shape[0]
    if width > LARGEST_WINDOW:
        launch_sample_wide(hidden, weight, sampling, lo, out)
        return
    if dim > LARGEST_DIM:
        launch_sample_sums(partial_logits(hidden, weight), sampling, lo, out)
        return
    _sample_window[(triton.cdiv(rows, TILE_ROWS),)](
        hidden,
        weight,
        *sampling.contiguous(),
        *out.tensors(),
        hidden.stride(0),
        hidden.stride(1),
        weight.stride(0),
        weight.stride(1),
        rows,
        lo,
        width,
        dim,
        STEP_IN_MEMORY=isinstance(sampling.step, Tensor),
        UPCAST=hidden.device.type == "cpu",
        **window_options(width, hidden.dtype),
    )


def window_options(width: int, dtype: torch.dtype) -> dict[str, Any]:
    """Compile-time arguments of ``_sample_window``."""
    tokens = max(triton.next_power_of_2(width), 32)
    return {"TILE_ROWS": TILE_ROWS, "TILE_TOKENS": tokens, **product_options(dtype, num_warps=8)}


@triton.jit(do_not_specialize=["step", "rows", "lo"])
def _sample_window(
    hidden,
    weight,
    temperatures,
    seeds,
    step,
    greedy,
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
    STEP_IN_MEMORY: tl.constexpr,
    UPCAST: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    TILE_DIMS: tl.constexpr,
):
    ids = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    row = tl.minimum(ids, rows - 1)  # beyond the end: the last row again, not stored
    offsets = tl.arange(0, TILE_TOKENS)
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
    total = tl.sum(weights, 1)
    weighted = tl.sum(weighted_exponents(weights, exponents), 1)
    valid = is_valid(total, maximum, temperature)

    uniform = row_uniforms(seeds + row, step, STEP_IN_MEMORY)[1]
    position, certain = _inverse_cumulative_in_blocks(weights, total, uniform, TILE_TOKENS // BLOCK)
    first = tl.min(tl.where(values == maximum[:, None], offsets[None, :], width - 1), 1)
    position = tl.where(is_greedy | (valid == 0), first, tl.minimum(position, width - 1))
    undecided = valid & (is_greedy == 0) & (certain == 0)
    if tl.max(undecided.to(tl.int32), 0) > 0:
        position = _decide_exactly(values, maximum, temperature, uniform, undecided, position)

    chosen = tl.sum(tl.where(offsets[None, :] == position[:, None], values, 0.0), 1)
    logprob, entropy = statistics((chosen - maximum) * scale, total, weighted)
    outputs = (tokens, logprobs, entropies, valids)
    store_sample(row, *outputs, lo, position, logprob, entropy, valid, is_greedy, ids < rows)


@triton.jit
def _inverse_cumulative_in_blocks(weights, total, uniform, BLOCKS: tl.constexpr):
    """``inverse_cumulative`` for each row of ``[rows, tokens]``: find a block, then the index inside it.

    A running sum over all tokens in float64 would not fit into the registers.
    """
    threshold = (uniform * total.to(tl.float64))[:, None]
    slack = total.to(tl.float64)[:, None] * MARGIN
    blocks = tl.reshape(weights, [weights.shape[0], BLOCKS, BLOCK])
    block_sums = tl.sum(blocks, 2).to(tl.float64)
    cumulative = tl.cumsum(block_sums, 1)
    block = tl.sum((cumulative <= threshold).to(tl.int32), 1)
    near = tl.sum((tl.abs(cumulative - threshold) <= slack).to(tl.int32), 1)

    is_block = tl.arange(0, BLOCKS)[None, :] == block[:, None]
    below = tl.sum(tl.where(tl.arange(0, BLOCKS)[None, :] < block[:, None], block_sums, 0.0), 1)
    members = tl.sum(tl.where(is_block[:, :, None], blocks, 0.0), 1).to(tl.float64)
    cumulative = below[:, None] + tl.cumsum(members, 1)
    index = tl.sum((cumulative <= threshold).to(tl.int32), 1)
    near += tl.sum((tl.abs(cumulative - threshold) <= slack).to(tl.int32), 1)
    return block * BLOCK + index, near == 0


@triton.jit
def _decide_exactly(values, maximum, temperature, uniform, undecided, position):
    """Positions with those of ``undecided`` rows computed again from float64 weights, one row at a time."""
    row_ids = tl.arange(0, values.shape[0])
    for i in range(values.shape[0]):
        if tl.max((undecided & (row_ids == i)).to(tl.int32), 0) > 0:
            own_values = tl.sum(tl.where((row_ids == i)[:, None], values, 0.0), 0)
            own_maximum = tl.sum(tl.where(row_ids == i, maximum, 0.0), 0)
            own_temperature = tl.sum(tl.where(row_ids == i, temperature, 0.0), 0)
            own_uniform = tl.sum(tl.where(row_ids == i, uniform, 0.0), 0)
            own_weights = exact_weights(own_values, own_maximum, own_temperature)
            exact = exact_inverse_cumulative(own_weights, own_uniform)
            position = tl.where(row_ids == i, exact, position)
    return position
