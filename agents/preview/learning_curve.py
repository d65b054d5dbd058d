"""The curve that success follows in a training run: a line in the logarithm of episodes, on the logit scale.

With ``e`` episodes a task played before a rollout, its success rate is modelled as::

    logit p(e) = start + slope * log(1 + e / SCALE)

Of straight lines in ``e``, in its root and in its logarithm, the logarithm fits our runs best: success rises
fast at first, and levels off. ``SCALE`` is the most likely of 4, 8, ... 128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCALE = 32.0
"""Episodes a task after which the curve has risen by ``slope * log(2)``."""

_NEWTON_STEPS = 25


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """A fitted curve."""

    start: float
    """Log-odds of success before training."""
    slope: float
    """Rise of the log-odds each time that ``1 + e / SCALE`` grows by a factor of e."""


def fit_curve(successes: Sequence[int], rollout_episodes: int, num_tasks: int) -> LearningCurve:
    """The most likely curve of a run (logistic regression, by Newton's method).

    Args:
        successes: successful episodes of each rollout, in order.
        rollout_episodes: episodes of each rollout.
        num_tasks: tasks that share them.
    """
    played = np.arange(len(successes)) * rollout_episodes / num_tasks
    features = np.stack([np.ones(len(played)), np.log1p(played / SCALE)], axis=1)
    weights = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        rates = 1 / (1 + np.exp(-features @ weights))
        curvature = features.T @ (features * (rollout_episodes * rates * (1 - rates))[:, None])
        # a run without failures has no finite optimum: a little prior keeps it in place
        curvature += 1e-3 * np.eye(2)
        gradient = features.T @ (np.asarray(successes) - rollout_episodes * rates) - 1e-3 * weights
        weights = weights + np.linalg.solve(curvature, gradient)
    return LearningCurve(start=float(weights[0]), slope=float(weights[1]))


def episodes_until(target: float, start: ArrayLike, slope: ArrayLike) -> NDArray[np.float64]:
    """Episodes a task until the curve reaches a success rate; 0 if it starts above, infinite if it falls."""
    missing = logit(target) - np.asarray(start, dtype=np.float64)
    slope = np.asarray(slope, dtype=np.float64)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        needed = SCALE * np.expm1(missing / slope)
    return np.where(missing <= 0, 0.0, np.where(slope > 0, needed, np.inf))


def first_reached(
    successes: Sequence[int], rollout_episodes: int, num_tasks: int, target: float, window_episodes: int = 96
) -> float | None:
    """Episodes a task after which the mean of the last ``window_episodes`` first reaches ``target``."""
    window = max(1, math.ceil(window_episodes / rollout_episodes))
    for end in range(window, len(successes) + 1):
        if sum(successes[end - window : end]) >= target * window * rollout_episodes:
            return end * rollout_episodes / num_tasks
    return None


def logit(rate: float) -> float:
    """Log-odds of a rate between 0 and 1, both excluded."""
    return math.log(rate / (1 - rate))
