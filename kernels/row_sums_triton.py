"""Parts of a row's softmax sums in Triton, shared by sampling and log-probs."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
LARGEST_SCALE = tl.constexpr(3.0e38)
"""Upper bound on 1 / temperature, so that the maximum's exponent is 0 and never 0 * inf."""
SMALLEST_EXPONENT = tl.constexpr(-200.0)
"""Replaces -inf where an exponent is multiplied by its weight, which is 0 at such exponents."""


@triton.jit
def load_logits(row_logits, offsets, stride, width):
    """Logits at ``offsets`` as float32, -inf beyond ``width``."""
    pointers = row_logits + offsets.to(tl.int64) * stride
    return tl.load(pointers, mask=offsets < width, other=-float("inf")).to(tl.float32)


@triton.jit
def exponent_scale(temperature, is_greedy):
    """The factor from ``logit - maximum`` to a base-2 exponent; for a greedy row any finite number.

    The quotient is rounded to nearest: an approximate one would change the temperature of the whole row.
    """
    log2_e = tl.full([], LOG2_E, tl.float32)
    return tl.minimum(tl.div_rn(log2_e, tl.where(is_greedy, log2_e, temperature)), LARGEST_SCALE)


@triton.jit
def finite_or_zero(maximum):
    """``maximum``, or 0 if it is -inf, so that a row or tile of only -inf has weights of 0, not NaN."""
    return tl.where(maximum == -float("inf"), 0.0, maximum)


@triton.jit
def weighted_exponents(weights, exponents):
    """Weights times exponents, the terms of the entropy's sum; 0 where the exponent is -inf."""
    return weights * tl.maximum(exponents, SMALLEST_EXPONENT)


@triton.jit
def is_valid(total, maximum, temperature):
    """Whether a row can be sampled: NaN or +inf make the total NaN, a row of -inf has the maximum -inf."""
    sane_temperature = (temperature >= 0.0) & (temperature < float("inf"))
    return (total == total) & (maximum > -float("inf")) & sane_temperature


@triton.jit
def statistics(exponent, total, weighted):
    """Log-prob and entropy in nats from the chosen token's base-2 exponent and the row's base-2 sums.

    They are meaningful for a valid row only.
    """
    log_total = tl.log(total)
    return tl.minimum(exponent * LN_2 - log_total, 0.0), tl.maximum(log_total - weighted / total * LN_2, 0.0)
