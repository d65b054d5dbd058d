"""Drawing a fixed number of items, each with the expected count that its weight asks for.

Systematic sampling (Madow 1949): the expected counts are laid end to end on a line, and equally spaced points
with one random start are read off it. An item with an expected count of 0.3 is drawn in 30 % of all samples.
One with 1.3 is drawn once or twice. Every stretch of the line has its expected number of draws, rounded up or
down: items of one kind that lie side by side are a stratum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_UNIT = 2**32
"""Parts of a draw. Counts are whole multiples of a part, so that sums are exact and limits hold."""


def expected_counts(
    weights: NDArray[np.float64], limits: NDArray[np.int64], total: int
) -> NDArray[np.float64]:
    """Counts ``[n]`` in proportion to ``weights``, none above its limit, that sum to ``total``.

    What an item cannot take for its limit goes to the others in proportion to their weights.

    Args:
        weights: ``[n]`` above 0.
        limits: ``[n]`` at least 0; their sum is at least ``total``.
        total: number of draws.
    """
    full = limits == 0
    while True:
        left = total - int(limits[full].sum())
        share = np.where(full, 0.0, weights)
        if left == 0 or full.all():
            return np.where(full, limits, 0.0)
        counts = np.where(full, limits, share * (left / share.sum()))
        above = ~full & (counts >= limits)
        if not above.any():
            return counts
        full |= above


def systematic_sample(
    counts: NDArray[np.float64], limits: NDArray[np.int64], total: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """``total`` items ``[total]`` in their order; an item comes as often as its count, rounded up or down.

    Args:
        counts: ``[n]`` expected counts that sum to ``total`` but for rounding.
        limits: ``[n]`` no item comes more often, whatever the rounding; their sum is at least ``total``.
        total: number of draws.
        rng: where the points start.
    """
    room = limits * _UNIT
    parts = np.minimum((counts * (_UNIT - 1)).astype(np.int64), room)  # rounded down
    missing = total * _UNIT - int(parts.sum())
    parts += np.diff(np.minimum(np.cumsum(room - parts), missing), prepend=0)
    points = rng.integers(_UNIT) + _UNIT * np.arange(total)
    return np.searchsorted(np.cumsum(parts), points, side="right")
