"""Intervals of the experiment's success rates: training seeds and initial states are clusters, crossed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.intervals import success_difference_interval, success_interval

Evaluation = Mapping[str, Any]
"""An entry of ``evaluations`` in ``report.json``."""


def rate(evaluations: Sequence[Evaluation]) -> tuple[float, float, float]:
    """Success rate of an arm, from one evaluation a training seed, and its 95 % interval."""
    played = _by_start(dict(enumerate(evaluations)))
    successes = [episode.success for episode in played.values()]
    return sum(successes) / len(successes), *success_interval(successes, *_clusterings(played))


def difference(
    before: Mapping[int, Evaluation], after: Mapping[int, Evaluation]
) -> tuple[float, float, float] | None:
    """Success rate ``after`` less ``before``, evaluations by training seed, and its 95 % interval.

    Episodes of the same seed, task, initial state and repeat are pairs. ``None`` if there are none.
    """
    mine, theirs = _by_start(before), _by_start(after)
    shared = {key: episode for key, episode in mine.items() if key in theirs}
    if not shared:
        return None
    was = [episode.success for episode in shared.values()]
    now = [theirs[key].success for key in shared]
    interval = success_difference_interval(was, now, *_clusterings(shared))
    return (sum(now) - sum(was)) / len(shared), *interval


_Played = dict[tuple[int, int, int, int], Episode]
"""Episodes by seed, task, initial state and repeat."""


def _by_start(evaluations: Mapping[int, Evaluation]) -> _Played:
    episodes = [
        (seed, Episode(**each)) for seed, played in evaluations.items() for each in played["episodes"]
    ]
    return {(seed, each.task_id, each.init_state_id, each.repeat): each for seed, each in episodes}


def _clusterings(played: _Played) -> tuple[list[tuple[int, int]], list[int]]:
    """The initial state and the seed of each episode."""
    return [(task, state) for _, task, state, _ in played], [seed for seed, *_ in played]
