"""Sums over a row's softmax weights on a CPU, compiled by numba; sampling and log-probs share them.

A row is cut into chunks that fit the innermost cache. Each chunk is read from memory once. Its weights are
summed in float32 relative to its own maximum; sums over chunks are float64.

The compiled functions of a row, here and in ``sampling_cpu``, are inlined by force and have one return.
Around a call or an early return, numba updates atomic reference counts of its arrays. These would cost as
much as the sums of 256 tokens.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ttrl_env.kernels.compiled import njit
from ttrl_env.kernels.sampling_reference import CHUNK

BLOCK = 16
"""Number of weights in a block: the search for a token skips whole blocks before single weights."""
CONVERTED_ELEMENTS = 2**18
"""Logits converted at a time, unless they are contiguous float32 already: 1 MB."""

LOG2_E = 1.0 / math.log(2.0)
LN_2 = math.log(2.0)
LARGEST_SCALE = 3.0e38
"""Upper bound on 1 / temperature, so that the maximum's exponent is 0 and never 0 * inf."""
SMALLEST_EXPONENT = np.float32(-126.0)
ROUNDING_CONSTANT = np.float32(1.5 * 2**23)
"""Adding and then subtracting this number rounds a small float32 to the nearest integer."""
ROUNDING_BITS = np.int32(ROUNDING_CONSTANT.view(np.int32) - 127)


def float32_rows(
    logits: Tensor, lo: int, hi: int, first: int, last: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(start, stop, address, row_stride)``: blocks of the rows of ``logits[:, lo:hi]``, in float32.

    A block's values within a row are adjacent, and its memory is valid until the next block is asked for.
    """
    row_stride, stride = logits.stride()
    width = hi - lo
    if logits.dtype is torch.float32 and (stride == 1 or width == 1):
        yield first, last, logits.data_ptr() + 4 * (first * row_stride + lo * stride), row_stride
        return
    rows = max(1, CONVERTED_ELEMENTS // width)
    for start in range(first, last, rows):
        stop = min(start + rows, last)
        block = logits.detach()[start:stop, lo:hi].to(torch.float32).contiguous()
        yield start, stop, block.data_ptr(), width


@njit(forceinline=True)
def make_scratch(width, temperatures):
    """``scales``, ``maxima``, ``sums`` and ``weights`` of a row, and a view of ``weights`` by blocks.

    The caller sets ``scales``, one for each of the row's ``temperatures``; ``sum_chunks`` fills the others.
    """
    chunks = (width + CHUNK - 1) // CHUNK
    scales = np.empty(temperatures, np.float32)
    maxima = np.empty(chunks, np.float32)
    sums = np.empty((temperatures, 2, chunks), np.float64)
    weight_blocks = np.empty((CHUNK // BLOCK, BLOCK), np.float32)
    return scales, maxima, sums, weight_blocks.reshape(CHUNK), weight_blocks


@njit(forceinline=True)
def sum_chunks(row, bits, scales, maxima, sums, weights):
    """The row's maximum, with every chunk's sums at each of ``scales``, one for each temperature.

    Fills ``maxima`` with each chunk's maximum, and ``sums`` ``[temperatures, 2, chunks]`` with its sums
    relative to that maximum. Afterwards ``weights`` holds the last chunk's weights at the last temperature.
    """
    maximum = -np.inf
    for chunk in range(maxima.shape[0]):
        start = chunk * CHUNK
        stop = min(start + CHUNK, row.shape[0])
        maxima[chunk] = _maximum(bits[start:stop])
        base = np.float32(0.0) if maxima[chunk] == -np.inf else maxima[chunk]
        for k in range(scales.shape[0]):  # the chunk is in the innermost cache after the first
            sums[k, 0, chunk], sums[k, 1, chunk] = sum_chunk(row[start:stop], base, scales[k], weights)
        maximum = max(maximum, np.float64(maxima[chunk]))
    return maximum


@njit(forceinline=True)
def sum_row(k, scale, maximum, maxima, sums):
    """The row's total weight and weighted base-2 exponents at its ``k``-th temperature, in float64.

    A row that holds NaN has a NaN total.
    """
    total = 0.0
    weighted = 0.0
    for chunk in range(maxima.shape[0]):
        shift = shift_exponent(maxima[chunk], maximum, scale)
        factor = 2.0**shift
        total += factor * sums[k, 0, chunk]
        weighted += factor * (sums[k, 1, chunk] + shift * sums[k, 0, chunk])
    return total, weighted


@njit(forceinline=True)
def shift_exponent(chunk_maximum, maximum, scale):
    """The base-2 exponent that makes a chunk's sums relative to the row's maximum."""
    if maximum == -np.inf:
        return 0.0
    return max((np.float64(chunk_maximum) - maximum) * np.float64(scale), -1000.0)


@njit(forceinline=True)
def _maximum(bits):
    """The largest of float32 values given by their bits; a NaN may or may not win.

    The bits of float32 values, read as integers, have the order of the numbers once all bits but the sign are
    flipped in negative values. A maximum of integers compiles to vector instructions; one of floats does not.
    """
    best = np.int32(-(2**31))
    for i in range(bits.shape[0]):
        ordered = _turn_negatives(bits[i])
        best = ordered if ordered > best else best
    return np.int32(_turn_negatives(best)).view(np.float32)


@njit(forceinline=True)
def _turn_negatives(bits):
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(forceinline=True, fastmath={"reassoc", "contract"})
def sum_chunk(chunk, base, scale, weights):
    """Weights of a chunk's tokens, their sum and the sum of each times its base-2 exponent."""
    total = np.float32(0.0)
    weighted = np.float32(0.0)
    for i in range(chunk.shape[0]):
        exponent, weight = power_of_two((chunk[i] - base) * scale)
        weights[i] = weight
        total += weight
        weighted += weight * exponent
    return total, weighted


@njit(forceinline=True, fastmath={"contract"})
def power_of_two(exponent):
    """``(clamped exponent, 2 ** exponent)`` for exponent <= 0, within 3e-7; NaN stays NaN.

    The power is 2^n 2^f, n the nearest integer and f in [-1/2, 1/2]. The exponent bits give 2^n, and a
    polynomial fitted for least relative error gives 2^f. Exponents are clamped to -126, where 2^n is still a
    normal number: beside a maximum of 2^0 it is negligible. The float64 decision does tell it from 0.
    """
    clamped = SMALLEST_EXPONENT if exponent < SMALLEST_EXPONENT else exponent
    rounded = np.float32(clamped + ROUNDING_CONSTANT)
    f = clamped - (rounded - ROUNDING_CONSTANT)
    power = np.float32(0.001326472668)
    power = power * f + np.float32(0.009671512677)
    power = power * f + np.float32(0.05550733745)
    power = power * f + np.float32(0.2402224208)
    power = power * f + np.float32(0.6931469776)
    power = power * f + np.float32(1.0)
    bits = np.int32(np.int32(rounded.view(np.int32) - ROUNDING_BITS) << np.int32(23))
    return clamped, power * np.int32(bits).view(np.float32)


@njit(forceinline=True)
def is_valid(maximum, total, temperature):
    """Whether a row can be sampled.

    False if it holds NaN or +inf, or only -inf, or if its temperature is negative or not finite.
    """
    return maximum > -np.inf and total < np.inf and 0.0 <= temperature < np.inf


@njit()
def are_sane(temperatures):
    """Whether all temperatures, of one dimension, are finite and not negative."""
    sane = True
    for i in range(temperatures.shape[0]):
        sane &= 0.0 <= temperatures[i] < np.inf
    return sane


@njit(forceinline=True)
def first_equal(row, value):
    """The lowest position that holds ``value``; the row must contain it."""
    for i in range(row.shape[0]):
        if row[i] == value:
            return i
    return 0
