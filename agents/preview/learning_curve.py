"""The curve that success follows in a training run: a line in the logarithm of episodes, on the logit scale.

With ``e`` episodes a task played before a rollout, its success rate is modelled as::

    logit p(e) = start + slope * log(1 + e / SCALE)

Of straight lines in ``e``, in its root and in its logarithm, the logarithm fits our runs best: success rises
fast at first, and levels off. ``SCALE`` is the most likely of 4, 8, ... 128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.preview.measured_runs import MeasuredRun

SCALE = 32.0
"""Episodes a task after which the curve has risen by ``slope * log(2)``."""

_NEWTON_STEPS = 25


def fit_curves(runs: Sequence[MeasuredRun]) -> NDArray[np.float64]:
    """The most likely slopes ``[R]`` of runs that start from one policy on the same tasks, and so alike.

    A rollout's success depends on the few states it plays, so a run by itself knows its start badly. All of
    ``runs`` share one. The fit is a logistic regression, by Newton's method.
    """
    owner = np.concatenate([np.full(len(run.successes), number) for number, run in enumerate(runs)])
    played = np.concatenate([np.arange(len(run.successes)) * run.episodes_each for run in runs])
    successes = np.concatenate([run.successes for run in runs])
    trials = np.concatenate([np.full(len(run.successes), run.rollout_episodes) for run in runs])
    of_run = owner[:, None] == np.arange(len(runs))
    features = np.column_stack([np.ones(len(played)), np.log1p(played / SCALE)[:, None] * of_run])
    weights = np.zeros(features.shape[1])
    prior = 1e-3 * np.eye(len(weights))  # a run without failures has no finite optimum otherwise
    for _ in range(_NEWTON_STEPS):
        rates = 1 / (1 + np.exp(-features @ weights))
        curvature = features.T @ (features * (trials * rates * (1 - rates))[:, None]) + prior
        gradient = features.T @ (successes - trials * rates) - prior @ weights
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights[1:]


def episodes_until(target: float, start: ArrayLike, slope: ArrayLike) -> NDArray[np.float64]:
    """Episodes a task until the curve reaches a success rate; 0 if it starts above, infinite if it falls."""
    missing = logit(target) - np.asarray(start, dtype=np.float64)
    slope = np.asarray(slope, dtype=np.float64)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        needed = SCALE * np.expm1(missing / slope)
    return np.where(missing <= 0, 0.0, np.where(slope > 0, needed, np.inf))


def first_reached(run: MeasuredRun, target: float, window_episodes: int = 96) -> float | None:
    """Episodes a task after which the mean of the last ``window_episodes`` first reaches ``target``."""
    window = max(1, math.ceil(window_episodes / run.rollout_episodes))
    for end in range(window, len(run.successes) + 1):
        if sum(run.successes[end - window : end]) >= target * window * run.rollout_episodes:
            return end * run.episodes_each
    return None


def logit(rate: float) -> float:
    """Log-odds of a rate between 0 and 1, both excluded."""
    return math.log(rate / (1 - rate))
