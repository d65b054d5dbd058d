"""``sample_tokens`` on a GPU: one launch a call.

A window of at most one chunk is held in registers, by the kernel here. For a wider one see
``sampling_wide_triton``.

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
from ttrl_env.kernels.sampling_wide_triton import launch_sample_wide_logits


def launch_sample_tokens(logits: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens) -> None:
    """Fill ``out`` from ``logits`` ``[rows, width]``, already cut at ``lo``; at least one row."""
    if logits.shape[1] <= CHUNK:
        launch_sample_sums(logits, sampling, lo, out)
    else:
        launch_sample_wide_logits(logits, sampling, lo, out)


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
    logprob, entropy = statistics((chosen - maximum) * scale, total, weighted)
    store_sample(row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy)
