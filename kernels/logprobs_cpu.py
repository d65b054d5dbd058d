"""``token_logprobs`` and its backward pass on a CPU, compiled by numba."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"

from __future__ import annotations

import math

import numpy as np
import torch
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
    sum_row,
)
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
    rows = [x.contiguous().numpy() for x in (tokens, temperatures)]
    rows += [x.numpy() for x in (logprobs, entropies, *statistics)]

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
    zero = logits.new_zeros(logits.shape[0], dtype=torch.float32)
    grads = [zero if grad is None else grad for grad in (grad_logprobs, grad_entropies)]
    # Contiguous, because numba compiles anew for every other layout.
    rows = [x.contiguous().numpy() for x in (tokens, temperatures, *grads, *statistics)]

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
    maxima, sums, weights, _blocks = make_scratch(width)
    flat_bits = flat.view(np.int32)
    for i in range(tokens.shape[0]):
        first = i * row_stride
        row = flat[first : first + width]
        bits = flat_bits[first : first + width]
        temperature = np.float64(temperatures[i])
        scale = 1.0 if temperature == 0 else min(LOG2_E / temperature, LARGEST_SCALE)
        maximum, total, weighted = sum_row(row, bits, np.float32(scale), maxima, sums, weights)
        position = tokens[i] - lo
        kept_maxima[i] = kept_totals[i] = kept_weighted[i] = 0.0
        entropies[i] = 0.0
        logprobs[i] = -np.inf
        if not (is_valid(maximum, total, temperature) and 0 <= position < width):
            continue
        if temperature == 0:
            logprobs[i] = 0.0 if position == first_equal(row, maximum) else -np.inf
            continue
        kept_maxima[i] = maximum
        kept_totals[i] = total
        kept_weighted[i] = weighted
        logprobs[i] = min((row[position] - maximum) * scale * LN_2 - math.log(total), 0.0)
        entropies[i] = max(math.log(total) - weighted / total * LN_2, 0.0)


@njit()
def _backward_rows(
    flat, row_stride, lo, tokens, temperatures, grad_logprobs, grad_entropies, maxima, totals, weighted, grad
):
    width = grad.shape[1]
    for i in range(tokens.shape[0]):
        total = totals[i]
        if total == 0.0:
            grad[i] = 0.0
            continue
        inverse_temperature = 1.0 / np.float64(temperatures[i])
        scale = min(LOG2_E * inverse_temperature, LARGEST_SCALE)
        inverse_temperature = min(inverse_temperature, LARGEST_INVERSE_TEMPERATURE)
        at_logprob = grad_logprobs[i] * inverse_temperature
        at_entropy = grad_entropies[i] * inverse_temperature
        _backward_row(
            flat[i * row_stride : i * row_stride + width],
            maxima[i],
            np.float32(scale),
            np.float32(1.0 / total),
            np.float32(weighted[i] / total),
            np.float32(at_logprob),
            np.float32(at_entropy * LN_2),
            grad[i],
        )
        grad[i, tokens[i] - lo] += np.float32(at_logprob)


@njit(fastmath={"contract"})
def _backward_row(row, maximum, scale, inverse_total, mean, at_logprob, at_entropy, grad):
    """Every gradient term but the token's own: ``-p (g_logprob + g_entropy (x - mean x))``.

    x is the base-2 exponent.
    """
    for i in range(row.shape[0]):
        exponent, weight = power_of_two((row[i] - maximum) * scale)
        grad[i] = -weight * inverse_total * (at_logprob + at_entropy * (exponent - mean))
