"""``token_logprobs`` and its backward pass on a CPU, compiled by numba."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.kernels.compiled import njit
from ttrl_env.kernels.row_sums_cpu import (
    LARGEST_SCALE,
    LN_2,
    LOG2_E,
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
    logprobs: Tensor,
    entropies: Tensor,
    statistics: Tensor,
) -> None:
    """Fill the last three arguments; see ``logprobs.logprobs_forward``."""
    logits = logits.detach()
    rows = [tokens.contiguous().numpy()]
    rows += [_columns(x) for x in (temperatures, logprobs, entropies)]
    rows += list(statistics.numpy().reshape(3, *rows[1].shape))

    def work(first: int, last: int) -> None:
        for start, stop, flat, row_stride in float32_rows(logits, first, last):
            views = [x[start:stop] for x in rows]
            _forward_rows(flat, row_stride, logits.shape[1], lo, *views)

    over_threads(work, *logits.shape)


def backward_cpu(
    logits: Tensor,
    tokens: Tensor,
    temperatures: Tensor,
    lo: int,
    statistics: Tensor,
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    grad_logits: Tensor,
) -> None:
    """Fill ``grad_logits`` ``[rows, width]``; see ``logprobs.logprobs_backward``."""
    logits = logits.detach()
    zero = torch.zeros_like(temperatures)
    grads = [zero if grad is None else grad for grad in (grad_logprobs, grad_entropies)]
    rows = [tokens.contiguous().numpy()]
    rows += [_columns(x) for x in (temperatures, *grads)]
    rows += list(statistics.contiguous().numpy().reshape(3, *rows[1].shape))

    def work(first: int, last: int) -> None:
        for start, stop, flat, row_stride in float32_rows(logits, first, last):
            views = [x[start:stop] for x in rows]
            wanted = grad_logits[start:stop]
            is_writable = wanted.dtype == torch.float32 and wanted.is_contiguous()
            grad = wanted if is_writable else wanted.new_empty(wanted.shape, dtype=torch.float32)
            _backward_rows(flat, row_stride, lo, *views, grad.numpy())
            if not is_writable:
                wanted.copy_(grad)

    over_threads(work, *logits.shape)


def _columns(values: Tensor) -> NDArray[np.float32]:
    """``[rows]`` or ``[rows, K]`` as ``[rows, K]``; contiguous, since numba compiles for each layout anew."""
    return values.contiguous().numpy().reshape(values.shape[0], -1)


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
