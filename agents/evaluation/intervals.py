"""Confidence intervals of success rates and of differences between them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

from ttrl_env.agents.evaluation.effective_trials import effective_trials


def success_interval(
    successes: Sequence[bool], *clusterings: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a success rate measured on episodes that may be correlated.

    It is Wilson's for the number of episodes that they are worth (:func:`effective_trials`), so Wilson's own
    if no cluster has two.

    Args:
        successes: ``[n]``.
        clusterings: labels ``[n]`` of the clusters, such as one sequence of initial states, and one of
            training seeds.
        confidence: the nominal coverage.
    """
    trials = effective_trials(successes, clusterings, confidence)
    return wilson_interval(trials * sum(successes) / len(successes), trials, confidence)


def success_difference_interval(
    before: Sequence[bool],
    after: Sequence[bool],
    *clusterings: Sequence[Hashable],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of the difference ``after - before`` of success rates, from pairs that may be correlated.

    It is :func:`paired_difference_interval` for the number of pairs that they are worth
    (:func:`effective_trials` of their differences). Pairs stay together, so what a state or a seed does to
    both sides cancels.

    Args:
        before: ``[n]``.
        after: ``[n]``, in the same order.
        clusterings: labels ``[n]`` of the clusters to which pairs belong.
        confidence: the nominal coverage.
    """
    pairs = list(zip(before, after, strict=True))
    share = effective_trials([int(b) - int(a) for a, b in pairs], clusterings, confidence) / len(pairs)
    both, gained, lost, neither = (
        share * pairs.count(outcome)
        for outcome in ((True, True), (False, True), (True, False), (False, False))
    )
    return paired_difference_interval(both, gained, lost, neither, confidence)


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), good for few trials and rates near 0 or 1.

    The trials are independent. Where they are not, numbers of effective ones need not be whole.
    """
    if trials < 1:
        raise ValueError(f"trials: expected at least 1, got {trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    margin = z / (1 + z**2 / trials) * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(centre - margin, 0.0), min(centre + margin, 1.0)


def paired_difference_interval(
    both: float, gained: float, lost: float, neither: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference ``after - before`` of two success rates on the same, independent trials.

    This is Newcombe's square-and-add interval with his correction of the correlation. Source: method 10 of
    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, 2635-2650. With Wilson limits ``l, u`` of each rate ``p`` and
    ``phi`` the correlation of the two outcomes::

        lower = d - sqrt((p_a - l_a)^2 - 2 phi (p_a - l_a)(u_b - p_b) + (u_b - p_b)^2)
        upper = d + sqrt((u_a - p_a)^2 - 2 phi (u_a - p_a)(p_b - l_b) + (p_b - l_b)^2)

    Args:
        both: trials that succeeded before and after.
        gained: trials that succeeded after only.
        lost: trials that succeeded before only.
        neither: trials that failed before and after.
        confidence: the nominal coverage.
    """
    trials = both + gained + lost + neither
    if trials < 1 or min(both, gained, lost, neither) < 0:
        raise ValueError(
            f"both, gained, lost, neither: expected counts, at least one above 0, "
            f"got {both}, {gained}, {lost}, {neither}"
        )
    before, after = (both + lost) / trials, (both + gained) / trials
    low_before, high_before = wilson_interval(both + lost, trials, confidence)
    low_after, high_after = wilson_interval(both + gained, trials, confidence)
    phi = _correlation(both, gained, lost, neither)

    def combined(mine: float, theirs: float) -> float:
        return math.sqrt(max(mine**2 - 2 * phi * mine * theirs + theirs**2, 0.0))

    difference = after - before
    return (
        difference - combined(after - low_after, high_before - before),
        difference + combined(high_after - after, before - low_before),
    )


def _correlation(both: float, gained: float, lost: float, neither: float) -> float:
    """Newcombe's ``phi``; a continuity correction of ``n / 2`` shrinks a positive correlation."""
    scale = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if scale == 0:
        return 0.0
    covariance = float(both * neither - gained * lost)
    if covariance > 0:
        covariance = max(covariance - (both + gained + lost + neither) / 2, 0.0)
    return covariance / math.sqrt(scale)
