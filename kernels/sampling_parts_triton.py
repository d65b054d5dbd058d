"""Parts of sampling in Triton: a row's uniforms, the inverse cumulative weight, and storing the sample."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

MARGIN = tl.constexpr(2.0**-19)
"""Fraction of the total weight: a sample nearer than this to a boundary is decided again in float64."""
NEAR = tl.constexpr(2**13)
"""A number above both the number of chunks and the number of tokens in a chunk."""


@triton.jit
def row_temperature(temperatures, greedy, row):
    """A row's temperature, or those of several rows, and whether it is greedy."""
    temperature = tl.load(temperatures + row)
    is_greedy = temperature == 0.0
    if greedy is not None:
        is_greedy = is_greedy | (tl.load(greedy + row) != 0)
    return temperature, is_greedy


@triton.jit
def row_uniforms(seed_pointer, step, STEP_IN_MEMORY: tl.constexpr):
    """Chunk and token uniform of each seed, float64 multiples of 2^-53 in [0, 1); see philox.py."""
    seed = tl.load(seed_pointer)
    count = (tl.load(step).to(tl.int64) if STEP_IN_MEMORY else step.to(tl.int64)) + seed * 0
    zero = (count * 0).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(seed, count.to(tl.uint32), (count >> 32).to(tl.uint32), zero, zero)
    return _uniform(w0, w1), _uniform(w2, w3)


@triton.jit
def _uniform(high, low):
    word = (high.to(tl.uint64) << 21) | (low.to(tl.uint64) >> 11)
    return word.to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def inverse_cumulative(weights, total, uniform):
    """First index whose cumulative weight exceeds ``uniform * total``, and whether it is certain.

    It is certain unless some cumulative weight is nearer than ``MARGIN`` to the threshold. Only the running
    sum is float64: in float32, small weights after a large one would be lost to rounding.
    """
    cumulative = tl.cumsum(weights.to(tl.float64), 0).to(tl.float32)
    threshold = (uniform * total.to(tl.float64)).to(tl.float32)
    below = tl.where(cumulative <= threshold, 1, 0)
    near = tl.where(tl.abs(cumulative - threshold) <= MARGIN * total, NEAR, 0)
    counts = tl.sum(below + near, 0)  # both in one reduction
    return counts % NEAR, counts < NEAR


@triton.jit
def exact_inverse_cumulative(weights, uniform):
    """``inverse_cumulative`` of float64 weights; the last index of positive weight where none exceeds."""
    cumulative = tl.cumsum(weights, 0)
    total = tl.max(cumulative, 0)
    reached = (cumulative <= uniform * total) & (cumulative < total)
    return tl.sum(reached.to(tl.int32), 0)


@triton.jit
def exact_weights(values, maximum, temperature):
    """Softmax weights relative to the maximum, in float64."""
    return tl.exp((values.to(tl.float64) - maximum.to(tl.float64)) / temperature.to(tl.float64))


@triton.jit
def store_sample(
    row, tokens, logprobs, entropies, valids, lo, position, logprob, entropy, valid, is_greedy, mask=None
):
    """Store one row's sample, or those of several rows where ``mask`` is set."""
    tl.store(tokens + row, lo + tl.where(valid, position, 0).to(tl.int64), mask)
    tl.store(logprobs + row, tl.where(valid, tl.where(is_greedy, 0.0, logprob), -float("inf")), mask)
    tl.store(entropies + row, tl.where(valid & (is_greedy == 0), entropy, 0.0), mask)
    tl.store(valids + row, valid, mask)
