"""``sample_tokens`` on a CPU, compiled by numba: one pass over each row, then a search in the chosen chunk.

Numba measured several times faster than vectorised PyTorch: see the table in the README. As on a GPU, a
sample too near a boundary for float32 is decided again in float64.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ttrl_env.kernels.addresses_cpu import (
    bool_at,
    bool_rows,
    float32_at,
    float32_columns,
    int64_at,
    int64_rows,
)
from ttrl_env.kernels.compiled import njit
from ttrl_env.kernels.philox import KEY_INCREMENTS, MULTIPLIERS, ROUNDS
from ttrl_env.kernels.row_sums_cpu import (
    BLOCK,
    LARGEST_SCALE,
    LN_2,
    LOG2_E,
    are_sane,
    first_equal,
    float32_rows,
    is_valid,
    make_scratch,
    shift_exponent,
    sum_chunk,
    sum_chunks,
    sum_row,
)
from ttrl_env.kernels.sampling_reference import CHUNK
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs
from ttrl_env.kernels.threads import over_threads

MARGIN = 2.0**-16
"""Fraction of the total weight: a sample nearer than this to a boundary is decided again in float64.

The margin is wider than on a GPU: each lane of a vector sums more weights in sequence. The fewer lanes a
processor has, the more weights each sums. Without vectors the worst error is 7.6e-6, half of the margin.
"""


def sample_tokens_cpu(
    logits: Tensor, lo: int, hi: int, sampling: SamplingInputs, first_id: int, out: SampledTokens
) -> bool:
    """Fill ``out`` from ``logits[:, lo:hi]``, at least one row; column ``lo`` is token ``first_id``.

    Returns whether every temperature is sensible.
    """
    temperatures, seeds, step, greedy = sampling
    inputs = (temperatures.data_ptr(), temperatures.stride(0), seeds.data_ptr(), seeds.stride(0), int(step))
    mask = (0, 0) if greedy is None else (greedy.data_ptr(), greedy.stride(0))
    outputs = [rows.data_ptr() for rows in out.tensors()]

    def sample_rows(first: int, last: int) -> bool:
        is_sane = True
        for start, stop, address, row_stride in float32_rows(logits, lo, hi, first, last):
            is_sane &= _sample_at(
                address, row_stride, hi - lo, start, stop, *inputs, *mask, first_id, *outputs
            )
        return is_sane

    return over_threads(sample_rows, logits.shape[0], hi - lo)


@njit()
def _sample_at(
    logits,
    row_stride,
    width,
    start,
    stop,
    temperatures,
    temperature_stride,
    seeds,
    seed_stride,
    step,
    greedy,
    greedy_stride,
    first_id,
    tokens,
    logprobs,
    entropies,
    valid,
):
    """``_sample_rows`` of the rows from ``start`` to ``stop``; whether their temperatures are sensible.

    ``logits`` is the address of the first of them, the others are addresses of row 0.
    """
    rows = stop - start
    row_temperatures = float32_columns(temperatures, temperature_stride, 1, start, stop, 1).reshape(rows)
    _sample_rows(
        float32_at(logits, (rows - 1) * row_stride + width),
        row_stride,
        width,
        row_temperatures,
        int64_rows(seeds, seed_stride, start, stop),
        step,
        bool_rows(greedy, greedy_stride, start, stop),
        first_id,
        int64_at(tokens + 8 * start, rows),
        float32_at(logprobs + 4 * start, rows),
        float32_at(entropies + 4 * start, rows),
        bool_at(valid + start, rows),
    )
    return are_sane(row_temperatures)


@njit()
def _sample_rows(
    flat, row_stride, width, temperatures, seeds, step, greedy, lo, tokens, logprobs, entropies, valid
):
    scales, maxima, sums, weights, weight_blocks = make_scratch(width, 1)
    scratch = maxima, sums, weights, weight_blocks
    flat_bits = flat.view(np.int32)
    for i in range(tokens.shape[0]):
        first = i * row_stride
        row = flat[first : first + width]
        temperature = np.float64(temperatures[i])
        is_greedy = greedy[i] or temperature == 0
        scale = 1.0 if is_greedy else min(LOG2_E / temperature, LARGEST_SCALE)
        bits = flat_bits[first : first + width]
        scales[0] = np.float32(scale)
        maximum = sum_chunks(row, bits, scales, maxima, sums, weights)
        total, weighted = sum_row(0, scales[0], maximum, maxima, sums)
        position = 0
        logprob = -np.inf
        entropy = 0.0
        valid[i] = is_valid(maximum, total, temperature)
        if valid[i] and is_greedy:
            position = first_equal(row, maximum)
            logprob = 0.0
        elif valid[i]:
            uniforms = row_uniforms(seeds[i], step)
            position = _sample(row, temperature, scale, maximum, total, *scratch, *uniforms)
            exponent = (row[position] - maximum) * scale
            logprob = min(exponent * LN_2 - math.log(total), 0.0)
            entropy = max(math.log(total) - weighted / total * LN_2, 0.0)
        tokens[i] = lo + position
        logprobs[i] = logprob
        entropies[i] = entropy


@njit(forceinline=True)
def _sample(
    row,
    temperature,
    scale,
    maximum,
    total,
    maxima,
    sums,
    weights,
    weight_blocks,
    chunk_uniform,
    token_uniform,
):
    """The sampled position in the row; see ``sampling_reference._sample``."""
    chunk = _pick_chunk(scale, maximum, total, maxima, sums, chunk_uniform)
    if chunk < 0:
        chunk = _exact_chunk(row, temperature, maximum, maxima.shape[0], chunk_uniform)
    start = chunk * CHUNK
    stop = min(start + CHUNK, row.shape[0])
    if chunk != maxima.shape[0] - 1:  # ``weights`` still holds the last chunk's
        sum_chunk(row[start:stop], maxima[chunk], np.float32(scale), weights)
    index = _pick_token(stop - start, sums[0, 0, chunk], weights, weight_blocks, token_uniform)
    if index < 0:
        exact = _exact_weights(row, start, stop, np.float64(maxima[chunk]), temperature)
        index = _inverse_cumulative(exact, token_uniform)
    return start + index


@njit(forceinline=True)
def _pick_chunk(scale, maximum, total, maxima, sums, uniform):
    """The chunk's index, or -1 if float32 is not precise enough to decide."""
    chunks = maxima.shape[0]
    threshold = uniform * total
    chunk = 0
    below = 0.0
    above = 0.0
    while chunk < chunks:
        above = below + sums[0, 0, chunk] * 2.0 ** shift_exponent(maxima[chunk], maximum, scale)
        if above > threshold:
            break
        below = above
        chunk += 1
    slack = MARGIN * total
    is_certain = chunk < chunks and threshold - below > slack and above - threshold > slack
    return chunk if is_certain or chunks == 1 else -1


@njit(forceinline=True)
def _pick_token(size, total, weights, weight_blocks, uniform):
    """The token's index in its chunk, or -1 if float32 is not precise enough to decide."""
    threshold = uniform * total
    index, below = _skip_blocks(weight_blocks, size // BLOCK, threshold)
    above = below
    while index < size:
        above = below + weights[index]
        if above > threshold:
            break
        below = above
        index += 1
    slack = MARGIN * total
    is_certain = index < size and threshold - below > slack and above - threshold > slack
    return index if is_certain else -1


@njit(forceinline=True, fastmath={"reassoc"})
def _skip_blocks(weight_blocks, blocks, threshold):
    """Start of the block in which the cumulative weight exceeds the threshold, and the sum before it."""
    below = 0.0
    block = 0
    while block < blocks:
        block_sum = np.float32(0.0)
        for i in range(BLOCK):
            block_sum += weight_blocks[block, i]
        if below + block_sum > threshold:
            break
        below += np.float64(block_sum)
        block += 1
    return block * BLOCK, below


@njit()
def _exact_chunk(row, temperature, maximum, chunks, uniform):
    weights = np.empty(chunks, np.float64)
    for chunk in range(chunks):
        start = chunk * CHUNK
        stop = min(start + CHUNK, row.shape[0])
        weights[chunk] = _exact_weights(row, start, stop, maximum, temperature).sum()
    return _inverse_cumulative(weights, uniform)


@njit()
def _exact_weights(row, start, stop, maximum, temperature):
    weights = np.empty(stop - start, np.float64)
    for i in range(stop - start):
        weights[i] = math.exp((np.float64(row[start + i]) - maximum) / temperature)
    return weights


@njit()
def _inverse_cumulative(weights, uniform):
    """First index whose cumulative weight exceeds ``uniform * total``, else the last of positive weight."""
    threshold = uniform * weights.sum()
    cumulative = 0.0
    last = 0
    for i in range(weights.shape[0]):
        cumulative += weights[i]
        if cumulative > threshold:
            return i
        if weights[i] > 0.0:
            last = i
    return last


@njit(forceinline=True)
def row_uniforms(seed, step):
    """The chunk uniform and the token uniform of a row; see ``philox.py``."""
    mask = np.uint64(0xFFFFFFFF)
    w0, w1, w2, w3 = philox_4x32(
        np.uint64(step) & mask,
        np.uint64(step) >> np.uint64(32),
        np.uint64(0),
        np.uint64(0),
        np.uint64(seed) & mask,
        np.uint64(seed) >> np.uint64(32),
    )
    scale = 2.0**-53
    high = np.uint64(21)
    low = np.uint64(11)
    return np.float64((w0 << high) | (w1 >> low)) * scale, np.float64((w2 << high) | (w3 >> low)) * scale


@njit(forceinline=True)
def philox_4x32(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words; like the arguments, they are uint64."""
    mask = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for _ in range(ROUNDS):
        product0 = c0 * np.uint64(MULTIPLIERS[0])
        product1 = c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (product1 >> half) ^ c1 ^ k0,
            product1 & mask,
            (product0 >> half) ^ c3 ^ k1,
            product0 & mask,
        )
        k0 = (k0 + np.uint64(KEY_INCREMENTS[0])) & mask
        k1 = (k1 + np.uint64(KEY_INCREMENTS[1])) & mask
    return c0, c1, c2, c3
