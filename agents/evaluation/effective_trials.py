"""How many independent episodes a set of correlated ones is worth."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit


def effective_trials(
    outcomes: Sequence[float], clusterings: Sequence[Sequence[Hashable]], confidence: float = 0.95
) -> float:
    """The number of independent trials whose mean is known as well as that of correlated ``outcomes``.

    Episodes from one initial state resemble each other, and so do those of one training run. With the
    deviations ``e`` of ``n`` outcomes from their mean, a clustering of ``G`` clusters multiplies the variance
    of the mean by about ``1 + x``::

        x = G / (G - 1) * sum over clusters of (sum of e)^2 / (sum of e^2)  -  n / (n - 1)

    ``x`` is 0 if each cluster has one outcome, and near 0 if clusters do not matter. It is estimated from
    ``G`` clusters, so it counts ``(t / z)^2`` times, with Student's ``t`` of ``G - 1`` degrees of freedom and
    the normal ``z`` at ``confidence``. Crossed clusterings add theirs (Owen 2007, "The pigeonhole bootstrap",
    Annals of Applied Statistics 1, 386-411, has the variances): trials are ``n / (1 + x_1 + x_2 ...)``. The
    idea of effective trials is that of surveys (Korn and Graubard 1998, Survey Methodology 24, 193-201).

    Never less than the number of clusters is returned, of the clustering that has fewest. Outcomes that are
    all equal say nothing about ``x``: they count as one for each cluster, of the clustering that has most.
    How often intervals made with it are right is in ``docs/findings/intervals-of-clustered-episodes.md``.

    Args:
        outcomes: ``[n]``, such as 0 and 1, or differences of pairs.
        clusterings: labels ``[n]`` of each clustering, such as initial states and training seeds. One with a
            single label is left out, for nothing is known of others: the mean is then that of this label.
        confidence: the nominal coverage of the interval to be made.
    """
    if not outcomes:
        raise ValueError("outcomes: expected at least one, got none")
    deviations = np.asarray(outcomes, dtype=np.float64) - np.mean(outcomes)
    clusters = [_numbered(labels, len(deviations)) for labels in clusterings]
    clusters = [numbers for numbers in clusters if numbers.max() > 0]
    sizes = [int(numbers.max()) + 1 for numbers in clusters] or [len(deviations)]
    if not deviations.any():
        return max(sizes)
    excess = sum(_excess(deviations, numbers, confidence) for numbers in clusters)
    return max(len(deviations) / (1 + excess), min(sizes))


def _excess(deviations: NDArray[np.float64], numbers: NDArray[np.int64], confidence: float) -> float:
    """``x`` of a clustering, as far as it is above 0, times ``(t / z)^2``."""
    count, sums = len(deviations), np.bincount(numbers, weights=deviations)
    ratio = np.square(sums).sum() / np.square(deviations).sum()
    excess = len(sums) / (len(sums) - 1) * ratio - count / (count - 1)
    probability = (1 + confidence) / 2
    return float(max(excess, 0.0) * (stdtrit(len(sums) - 1, probability) / ndtri(probability)) ** 2)


def _numbered(labels: Sequence[Hashable], count: int) -> NDArray[np.int64]:
    """Labels as numbers from 0, in order of appearance."""
    if len(labels) != count:
        raise ValueError(f"clusterings: expected {count} labels, one for each outcome, got {len(labels)}")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)
