"""``token_logprobs`` and its backward pass on a CPU, compiled by numba."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ttrl_env.kernels.addresses_cpu import float32_at, float32_columns, int64_rows
from ttrl_env.kernels.compiled import njit
from ttrl_env.kernels.row_sums_cpu import (
    LARGEST_SCALE,
    LN_2,
    LOG2_E,
    are_sane,
    first_equal,
    float32_rows,
    is_valid,
    make_scratch,
    power_of_two,
    sum_chunks,
    sum_row,
)
from ttrl_env.kernels.sampling_reference import CHUNK
from ttrl_env.kernels.threads import over_threads

LARGEST_INVERSE_TEMPERATURE = 1e25
"""Upper bound on 1 / temperature. Larger values would overflow in a gradient.

At this bound all weight is already at the maximum, or the row is invalid.
"""


def forward_cpu(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    hi: int,
    logprobs: Tensor,
    entropies: Tensor,
    statistics: Tensor,
) -> bool:
    """Fill the last three arguments, contiguous tensors; see ``logprobs.logprobs_forward``.

    Returns whether every temperature is sensible and every token inside the window.
    """
    inputs = (tokens.data_ptr(), tokens.stride(0), *_columns(temperatures))
    rows = logits.shape[0]
    arrays = (*inputs, logprobs.data_ptr(), entropies.data_ptr(), statistics.data_ptr(), rows)
    columns = temperatures.shape[1] if temperatures.ndim == 2 else 1

    def work(first: int, last: int) -> bool:
        is_sane = True
        for start, stop, address, row_stride in float32_rows(logits, lo, hi, first, last):
            is_sane &= _forward_at(address, row_stride, lo, hi, start, stop, columns, *arrays)
        return is_sane

    return over_threads(work, rows, hi - lo)


def backward_cpu(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    hi: int,
    statistics: Tensor,
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    grad_logits: Tensor,
) -> None:
    """Fill ``grad_logits[:, lo:hi]``; see ``logprobs.logprobs_backward``."""
    statistics = statistics.contiguous()
    inputs = (tokens.data_ptr(), tokens.stride(0), *_columns(temperatures))
    grads = [None if grad is None else grad.resolve_neg() for grad in (grad_logprobs, grad_entropies)]
    rows, width = logits.shape[0], hi - lo
    arrays = (*inputs, *_columns(grads[0]), *_columns(grads[1]), statistics.data_ptr(), rows)
    columns = temperatures.shape[1] if temperatures.ndim == 2 else 1
    is_writable = grad_logits.dtype is torch.float32 and width == grad_logits.shape[1]

    def work(first: int, last: int) -> bool:
        for start, stop, address, row_stride in float32_rows(logits, lo, hi, first, last):
            place = (address, row_stride, lo, hi, start, stop, columns)
            if is_writable:
                _backward_at(*place, *arrays, grad_logits.data_ptr() + 4 * start * width)
            else:
                grad = torch.empty((stop - start, width), dtype=torch.float32, device="cpu")
                _backward_at(*place, *arrays, grad.data_ptr())
                grad_logits[start:stop, lo:hi].copy_(grad)
        return True

    over_threads(work, rows, width)


def _columns(values: Tensor | None) -> tuple[int, int, int]:
    """Address, row stride and column stride of ``[rows]`` or ``[rows, K]``; zeros for ``None``."""
    if values is None:
        return 0, 0, 0
    return values.data_ptr(), values.stride(0), values.stride(1) if values.ndim == 2 else 1


@njit()
def _forward_at(
    logits,
    row_stride,
    lo,
    hi,
    start,
    stop,
    columns,
    tokens,
    token_stride,
    temperatures,
    temperature_row_stride,
    temperature_stride,
    logprobs,
    entropies,
    statistics,
    all_rows,
):
    """``_forward_rows`` of the rows from ``start`` to ``stop``; whether their arguments are sensible.

    ``logits`` is the address of the first of them, the others are addresses of row 0.
    """
    width, rows = hi - lo, stop - start
    row_tokens = int64_rows(tokens, token_stride, start, stop)
    row_temperatures = float32_columns(
        temperatures, temperature_row_stride, temperature_stride, start, stop, columns
    )
    shape, offset, plane = (rows, columns), 4 * start * columns, 4 * all_rows * columns
    _forward_rows(
        float32_at(logits, (rows - 1) * row_stride + width),
        row_stride,
        width,
        lo,
        row_tokens,
        row_temperatures,
        float32_at(logprobs + offset, shape),
        float32_at(entropies + offset, shape),
        float32_at(statistics + offset, shape),
        float32_at(statistics + plane + offset, shape),
        float32_at(statistics + 2 * plane + offset, shape),
    )
    inside = True
    for i in range(rows):
        inside &= lo <= row_tokens[i] < hi
    return inside and are_sane(row_temperatures.reshape(rows * columns))


@njit()
def _backward_at(
    logits,
    row_stride,
    lo,
    hi,
    start,
    stop,
    columns,
    tokens,
    token_stride,
    temperatures,
    temperature_row_stride,
    temperature_stride,
    grad_logprobs,
    grad_logprobs_row_stride,
    grad_logprobs_stride,
    grad_entropies,
    grad_entropies_row_stride,
    grad_entropies_stride,
    statistics,
    all_rows,
    grad,
):
    """``_backward_rows`` of the rows from ``start`` to ``stop``.

    ``logits`` and ``grad`` are the addresses of the first of them, the others are addresses of row 0.
    """
    width, rows = hi - lo, stop - start
    shape, offset, plane = (rows, columns), 4 * start * columns, 4 * all_rows * columns
    _backward_rows(
        float32_at(logits, (rows - 1) * row_stride + width),
        row_stride,
        lo,
        int64_rows(tokens, token_stride, start, stop),
        float32_columns(temperatures, temperature_row_stride, temperature_stride, start, stop, columns),
        float32_columns(grad_logprobs, grad_logprobs_row_stride, grad_logprobs_stride, start, stop, columns),
        float32_columns(
            grad_entropies, grad_entropies_row_stride, grad_entropies_stride, start, stop, columns
        ),
        float32_at(statistics + offset, shape),
        float32_at(statistics + plane + offset, shape),
        float32_at(statistics + 2 * plane + offset, shape),
        float32_at(grad, (rows, width)),
    )


@njit()
def _forward_rows(
    flat,
    row_stride,
    width,
    lo,
    tokens,
    temperatures,
    logprobs,
    entropies,
    kept_maxima,
    kept_totals,
    kept_weighted,
):
    scales, maxima, sums, weights, _blocks = make_scratch(width, temperatures.shape[1])
    flat_bits = flat.view(np.int32)
    for i in range(tokens.shape[0]):
        first = i * row_stride
        row = flat[first : first + width]
        bits = flat_bits[first : first + width]
        for k in range(scales.shape[0]):
            scales[k] = np.float32(_exponent_scale(temperatures[i, k]))
        maximum = sum_chunks(row, bits, scales, maxima, sums, weights)
        position = tokens[i] - lo
        for k in range(scales.shape[0]):
            temperature = np.float64(temperatures[i, k])
            total, weighted = sum_row(k, scales[k], maximum, maxima, sums)
            kept_maxima[i, k] = kept_totals[i, k] = kept_weighted[i, k] = 0.0
            entropies[i, k] = 0.0
            logprobs[i, k] = -np.inf
            if not (is_valid(maximum, total, temperature) and 0 <= position < width):
                continue
            if temperature == 0:
                logprobs[i, k] = 0.0 if position == first_equal(row, maximum) else -np.inf
                continue
            kept_maxima[i, k] = maximum
            kept_totals[i, k] = total
            kept_weighted[i, k] = weighted
            exponent = (row[position] - maximum) * _exponent_scale(temperatures[i, k])
            logprobs[i, k] = min(exponent * LN_2 - math.log(total), 0.0)
            entropies[i, k] = max(math.log(total) - weighted / total * LN_2, 0.0)


@njit(forceinline=True)
def _exponent_scale(temperature):
    """The factor from ``logit - maximum`` to a base-2 exponent, in float64; 1 for a greedy row."""
    return 1.0 if temperature == 0 else min(LOG2_E / np.float64(temperature), LARGEST_SCALE)


@njit()
def _backward_rows(
    flat, row_stride, lo, tokens, temperatures, grad_logprobs, grad_entropies, maxima, totals, weighted, grad
):
    width = grad.shape[1]
    for i in range(tokens.shape[0]):
        for start in range(0, width, CHUNK):  # which stays in the innermost cache for all temperatures
            stop = min(start + CHUNK, width)
            is_first = True
            for k in range(temperatures.shape[1]):
                total = totals[i, k]
                if total == 0.0:
                    continue
                inverse_temperature = 1.0 / np.float64(temperatures[i, k])
                scale = min(LOG2_E * inverse_temperature, LARGEST_SCALE)
                inverse_temperature = min(inverse_temperature, LARGEST_INVERSE_TEMPERATURE)
                at_logprob = grad_logprobs[i, k] * inverse_temperature
                at_entropy = grad_entropies[i, k] * inverse_temperature
                _backward_chunk(
                    flat[i * row_stride + start : i * row_stride + stop],
                    maxima[i, k],
                    np.float32(scale),
                    np.float32(1.0 / total),
                    np.float32(weighted[i, k] / total),
                    np.float32(at_logprob),
                    np.float32(at_entropy * LN_2),
                    is_first,
                    grad[i, start:stop],
                )
                is_first = False
                position = tokens[i] - lo
                if start <= position < stop:
                    grad[i, position] += np.float32(at_logprob)
            if is_first:
                grad[i, start:stop] = 0.0


@njit()
def _backward_chunk(logits, maximum, scale, inverse_total, mean, at_logprob, at_entropy, is_first, grad):
    """Every gradient term of one temperature but the token's own; it replaces or is added to ``grad``."""
    if is_first:
        for i in range(logits.shape[0]):
            grad[i] = _gradient(logits[i], maximum, scale, inverse_total, mean, at_logprob, at_entropy)
    else:
        for i in range(logits.shape[0]):
            grad[i] += _gradient(logits[i], maximum, scale, inverse_total, mean, at_logprob, at_entropy)


@njit(forceinline=True, fastmath={"contract"})
def _gradient(logit, maximum, scale, inverse_total, mean, at_logprob, at_entropy):
    """``-p (g_logprob + g_entropy (x - mean x))``, x the base-2 exponent."""
    exponent, weight = power_of_two((logit - maximum) * scale)
    return -weight * inverse_total * (at_logprob + at_entropy * (exponent - mean))
