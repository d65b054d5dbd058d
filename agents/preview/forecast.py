"""How many episodes a run will need to succeed nine times in ten, from the success it starts with.

Our own runs are the only evidence. Each has a learning curve (:mod:`ttrl_env.agents.preview.learning_curve`),
and the slopes of these curves say how fast success rises, each policy on its tasks counting alike. A forecast
combines them with the measured start. Where nothing alike has been measured, there is no number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.preview.learning_curve import episodes_until, first_reached, fit_curves, logit
from ttrl_env.agents.preview.measured_runs import MeasuredRun

TARGET = 0.9
"""Success rate in training that is forecast."""

QUANTILES = (0.1, 0.5, 0.9)
"""The range of a forecast, and its middle."""

ROWS_ALIKE = 4.0
"""Variance of a rollout's success over that of independent episodes, where its groups are not known.

So do the first rollouts of our runs vary from seed to seed: rows of a state are alike."""

_START_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Success before training."""

    rate: float
    """Between 0 and 1, both excluded."""
    error: float
    """Standard error of its log-odds."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Episodes of a run, over all its tasks, until its rollouts succeed nine times in ten."""

    low: float
    middle: float
    high: float
    longest: float
    """Episodes over all tasks of the longest run measured; what lies beyond it has not been measured."""


def start_of(successes: NDArray[np.int64], rows: int) -> Start:
    """The start of a run from the successes ``[G]`` of its groups of ``rows`` episodes, which are alike."""
    trials = len(successes) * rows
    rate = (float(successes.sum()) + 0.5) / (trials + 1)
    variance = rate * (1 - rate) / trials
    if len(successes) > 1:  # groups differ: their own spread counts
        variance = max(variance, float(np.var(successes / rows, ddof=1)) / len(successes))
    return Start(rate=rate, error=math.sqrt(variance) / (rate * (1 - rate)))


def forecast(start: Start, runs: Sequence[MeasuredRun], num_tasks: int) -> Forecast:
    """Episodes until :data:`TARGET`: the range that four fifths of runs alike would end in."""
    slopes, weights = _slopes(tuple(runs))
    starts = [
        logit(start.rate) + start.error * NormalDist().inv_cdf(quantile) for quantile in _START_QUANTILES
    ]
    needed = episodes_until(TARGET, np.array(starts)[:, None], slopes)
    low, middle, high = _quantiles(needed.ravel(), np.tile(weights, len(starts))) * num_tasks
    longest = max(run.episodes_per_task for run in runs) * num_tasks
    return Forecast(low=low, middle=middle, high=high, longest=longest)


def unlike(start: Start, kind: str, num_tasks: int, runs: Sequence[MeasuredRun]) -> str | None:
    """Why there is no number for a run; ``None`` if runs alike have been measured."""
    kinds = sorted({run.kind for run in runs})
    if kind not in kinds:
        return f"the policy is {kind}; measured were {', '.join(kinds)}"
    tasks = [len(run.task_ids) for run in runs]
    if not min(tasks) <= num_tasks <= max(tasks):
        span = f"{min(tasks)}" if min(tasks) == max(tasks) else f"{min(tasks)} to {max(tasks)}"
        return f"the run shares its episodes among {num_tasks} tasks; measured were runs of {span}"
    first = [run.successes[0] / run.rollout_episodes for run in runs]
    margin = start.error * NormalDist().inv_cdf(0.975)
    low, high = (1 / (1 + math.exp(-logit(start.rate) - side * margin)) for side in (-1, 1))
    if high < min(first) or low > max(first):
        return (
            f"success before training is {start.rate:.0%}; measured were runs that begin between "
            f"{min(first):.0%} and {max(first):.0%}"
        )
    return None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Forecasts of the measured runs, each from the runs on other tasks and its own first rollout."""

    runs: int
    tasks: int
    in_range: int
    """Runs that the range held; one that never got there counts if the range reaches beyond its end."""
    reached: int
    """Runs that reached the target."""
    factor: float
    """Median factor between the middle of the range and the truth, where the target was reached."""


@cache
def check(runs: tuple[MeasuredRun, ...]) -> Check:
    """How good forecasts are, task by task: a task's runs are forecast from the other tasks alone."""
    in_range = 0
    factors: list[float] = []
    for run in runs:
        others = [other for other in runs if other.start != run.start]
        predicted = forecast(_start_of_run(run), others, num_tasks=1)
        truth = first_reached(run, TARGET)
        if truth is None:
            in_range += predicted.high >= run.episodes_per_task
        else:
            in_range += predicted.low <= truth <= predicted.high
            factors.append(math.exp(abs(math.log(max(predicted.middle, 1.0) / truth))))
    return Check(
        runs=len(runs),
        tasks=len({run.start for run in runs}),
        in_range=int(in_range),
        reached=len(factors),
        factor=float(np.median(factors)) if factors else math.nan,
    )


def _start_of_run(run: MeasuredRun) -> Start:
    """The start of a measured run, from its first rollout."""
    trials = run.rollout_episodes
    rate = (run.successes[0] + 0.5) / (trials + 1)
    return Start(rate=rate, error=math.sqrt(ROWS_ALIKE / (trials * rate * (1 - rate))))


@cache
def _slopes(runs: tuple[MeasuredRun, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope of each run's curve, and weights that let every start, a policy on its tasks, count alike."""
    alike: dict[Hashable, list[MeasuredRun]] = {}
    for run in runs:
        alike.setdefault(run.start, []).append(run)
    slopes = np.concatenate([fit_curves(group) for group in alike.values()])
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in alike.values()])
    return slopes, weights


def _quantiles(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """:data:`QUANTILES` of weighted values, each value in the middle of its weight."""
    order = np.argsort(values)
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    return values[order][np.searchsorted(share, QUANTILES).clip(max=len(values) - 1)]
