"""Plays the sample of a preview: the groups that the run would deal first, with its rows and ladder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ttrl_env import tasks
from ttrl_env.agents.evaluation.episode_queue import Episode, EpisodeStart
from ttrl_env.agents.policies.protocol import PlayedPolicy
from ttrl_env.agents.preview.config import PreviewConfig
from ttrl_env.agents.rollout.assignments import Assignment, InTurnDealer
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.replica_env import ReplicaVectorEnv

_DIVERGED = "the simulation diverged"
"""Why an episode failed; a rollout does not keep the engine's own words."""


@dataclass(frozen=True, kw_only=True)
class PlannedRollout:
    """One rollout of the plan."""

    assignment: Assignment
    """What every group of the environment is told to play."""
    num_groups: int
    """The first groups, which are played; the last rollout may leave some out."""

    @property
    def starts(self) -> list[tuple[int, int]]:
        """Task and initial state of each group that is played."""
        return [*zip(self.assignment.task_ids, self.assignment.init_state_ids, strict=True)][
            : self.num_groups
        ]


def plan(config: PreviewConfig) -> list[PlannedRollout]:
    """The rollouts of a preview: the training states that come first in turn, each once, none held out."""
    dealer, at_once = InTurnDealer(config), config.env.num_groups
    total = len(config.env.task_ids) * states_per_task(config)
    return [
        PlannedRollout(assignment=dealer.deal(draw), num_groups=min(at_once, total - first))
        for draw, first in enumerate(range(0, total, at_once))
    ]


def states_per_task(config: PreviewConfig) -> int:
    """Initial states of each task that are played, at most the training states that it has."""
    env = config.env
    there = min(len(tasks.init_state_ids(env.suite, task_id, "train")) for task_id in env.task_ids)
    return min(config.preview.states_per_task, there)


def play(
    env: ReplicaVectorEnv,
    policy: PlayedPolicy,
    config: PreviewConfig,
    *,
    finished: Iterable[Episode] = (),
    on_episode: Callable[[Episode], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Episode], float | None]:
    """Play every rollout of the plan that is not finished.

    With ``rollout.states=in_turn``, the first rollout has the episodes that the run's own first rollout will
    have, token for token.

    Args:
        env: the run's training environment.
        policy: the policy, which stays as it is.
        config: the run, and how much is played.
        finished: episodes that an earlier, interrupted call has played; ``repeat`` is the rung.
        on_episode: called with each episode of a rollout as the rollout ends.
        progress: called with the numbers of finished and of all episodes.

    Returns:
        All episodes, and seconds an episode; ``None`` if nothing was left to play. The first rollout opens
        the simulations and is timed only if it is the only one.
    """
    planned, rows = plan(config), config.env.n_samples
    episodes = {each.start: each for each in finished}
    total = rows * sum(each.num_groups for each in planned)
    rates: list[float] = []
    for number, rollout in enumerate(planned):
        starts = [
            EpisodeStart(task_id=task, init_state_id=state, repeat=rung)
            for task, state in rollout.starts
            for rung in range(rows)
        ]
        if all(start in episodes for start in starts):
            continue
        began, before = time.perf_counter(), len(episodes)
        report = None if progress is None else partial(_report, progress, before, len(starts), total)
        for episode in _play_rollout(env, policy, config, number, rollout, report):
            episodes[episode.start] = episode
            if on_episode is not None:
                on_episode(episode)
        rates.append((time.perf_counter() - began) / len(starts))
    return list(episodes.values()), float(np.mean(rates[1:] or rates)) if rates else None


def _play_rollout(
    env: ReplicaVectorEnv,
    policy: PlayedPolicy,
    config: PreviewConfig,
    number: int,
    rollout: PlannedRollout,
    progress: Callable[[int, int], None] | None,
) -> list[Episode]:
    """The episodes of a rollout, its rows in order; the seed is that of the run's iteration ``number``."""
    rows, assignment = config.env.n_samples, rollout.assignment
    played = rollout.num_groups * rows
    result = collect_rollout(
        env,
        policy,
        options={
            "task_ids": assignment.task_ids,
            "init_state_ids": assignment.init_state_ids,
            "reset_mask": np.arange(env.num_envs) < played,
        },
        seed=[config.seed, number],
        rows_at_once=config.rollout.rows_at_once,
        progress=progress,
    )
    return [
        Episode(
            task_id=int(result.task_ids[row]),
            init_state_id=int(result.init_state_ids[row]),
            repeat=row % rows,
            success=bool(result.success[row]),
            finish_step=int(result.finish_steps[row]),
            failure=_DIVERGED if _diverged(result, row, env.max_steps) else None,
        )
        for row in range(played)
    ]


def _diverged(rollout: Rollout, row: int, max_steps: int) -> bool:
    """Whether an episode was cut off before the horizon, which only a diverged simulation is."""
    return bool(rollout.truncations[row] and rollout.finish_steps[row] < max_steps)


def _report(
    progress: Callable[[int, int], None], before: int, played: int, total: int, finished: int, rows: int
) -> None:
    """Report ``finished`` of a rollout's ``rows`` as episodes of the preview; rows left out do not count."""
    progress(before + finished - (rows - played), total)
