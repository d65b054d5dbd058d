"""Pieces of a row's softmax sums in Triton: what sampling and log-probs have in common."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
LARGEST_SCALE = tl.constexpr(3.0e38)
"""Keeps 1 / temperature finite, so that the maximum's exponent is 0 and never 0 * inf."""
SMALLEST_EXPONENT = tl.constexpr(-200.0)
"""Stands in for -inf where an exponent multiplies its weight, which is 0 by then."""


@triton.jit
def load_logits(row_logits, offsets, stride, width):
    """Logits at ``offsets`` as float32, -inf beyond ``width``."""
    pointers = row_logits + offsets.to(tl.int64) * stride
    return tl.load(pointers, mask=offsets < width, other=-float("inf")).to(tl.float32)


@triton.jit
def exponent_scale(temperature, is_greedy):
    """What turns ``logit - maximum`` into a base-2 exponent. A greedy row only needs it to be finite.

    Rounded to nearest: an approximate quotient would be another temperature for every token of the row.
    """
    log2_e = tl.full([], LOG2_E, tl.float32)
    return tl.minimum(tl.div_rn(log2_e, tl.where(is_greedy, log2_e, temperature)), LARGEST_SCALE)


@triton.jit
def finite_or_zero(maximum):
    """So that a row or tile of nothing but -inf has weights of 0, not NaN."""
    return tl.where(maximum == -float("inf"), 0.0, maximum)


@triton.jit
def weighted_exponents(weights, exponents):
    """Terms of the entropy's sum; 0 where the exponent is -inf."""
    return weights * tl.maximum(exponents, SMALLEST_EXPONENT)


@triton.jit
def is_valid(total, maximum, temperature):
    """NaN and +inf reach the total as NaN, a row of -inf leaves its maximum at -inf."""
    sane_temperature = (temperature >= 0.0) & (temperature < float("inf"))
    return (total == total) & (maximum > -float("inf")) & sane_temperature


@triton.jit
def statistics(chosen, maximum, scale, total, weighted):
    """Log-prob and entropy in nats from base-2 sums; both finite arguments of a valid row."""
    log_total = tl.log(total)
    logprob = (chosen - maximum) * scale * LN_2 - log_total
    return tl.minimum(logprob, 0.0), tl.maximum(log_total - weighted / total * LN_2, 0.0)
