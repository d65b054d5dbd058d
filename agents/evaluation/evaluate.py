"""Evaluates a policy: success rates on given initial states, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np

from ttrl_env import tasks
from ttrl_env.agents.config.schema import EnvConfig, EpisodesConfig
from ttrl_env.agents.evaluation.episode_queue import Episode, EpisodeStart, play_episodes
from ttrl_env.agents.evaluation.intervals import success_interval
from ttrl_env.agents.policies.conformance import PLAYED, check_policy
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.policies.protocol import PlayedPolicy
from ttrl_env.agents.rollout.playable import (
    check_actions,
    check_one_row_an_episode,
    check_sampling_temperatures,
)
from ttrl_env.checks import check_choice, check_positive_int, check_seed
from ttrl_env.replica_env import ReplicaVectorEnv
from ttrl_env.tasks import Split


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The episodes of an evaluation, and the settings with which they were played."""

    suite: str
    init_states: str
    """Split of the initial states; "all" includes the states of the train split."""
    temperature: float
    max_steps: int
    episodes: list[Episode]

    @property
    def success_rate(self) -> float:
        """Fraction of episodes that succeeded."""
        return float(np.mean([episode.success for episode in self.episodes]))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate; episodes from one initial state count as dependent."""
        return episodes_interval(self.episodes)

    @property
    def steps_to_success(self) -> float | None:
        """Mean executed steps of the successful episodes; ``None`` if there are none."""
        steps = [episode.finish_step for episode in self.episodes if episode.success]
        return float(np.mean(steps)) if steps else None

    @property
    def task_ids(self) -> list[int]:
        """Ids of the tasks played, sorted."""
        return sorted({episode.task_id for episode in self.episodes})

    def of_task(self, task_id: int) -> Evaluation:
        """The evaluation restricted to one task."""
        return self.restricted(lambda episode: episode.task_id == task_id)

    def restricted(self, keep: Callable[[Episode], bool]) -> Evaluation:
        """The evaluation restricted to the episodes for which ``keep`` is true."""
        return replace(self, episodes=[episode for episode in self.episodes if keep(episode)])

    def totals(self) -> dict[str, Any]:
        """Numbers of episodes and successes, success rate with its interval, and steps to success."""
        return {
            "num_episodes": len(self.episodes),
            "num_successes": sum(episode.success for episode in self.episodes),
            "success_rate": self.success_rate,
            "success_rate_interval_95": list(self.interval),
            "steps_to_success": self.steps_to_success,
        }

    def report(self) -> dict[str, Any]:
        """A dictionary for JSON: settings, totals, one entry a task, and every episode."""
        return {
            "suite": self.suite,
            "init_states": self.init_states,
            "includes_training_states": self.init_states != "held_out",
            "temperature": self.temperature,
            "max_steps": self.max_steps,
            **self.totals(),
            "tasks": {task_id: self.of_task(task_id).totals() for task_id in self.task_ids},
            "episodes": [asdict(episode) for episode in self.episodes],
        }


def episodes_interval(episodes: Sequence[Episode]) -> tuple[float, float]:
    """95 % interval of the success rate of a policy's episodes, with initial states as clusters."""
    states = [(episode.task_id, episode.init_state_id) for episode in episodes]
    return success_interval([episode.success for episode in episodes], states)


def recorded_interval(record: Mapping[str, Any]) -> tuple[float, float]:
    """:func:`episodes_interval` of an evaluation that was recorded, from its ``episodes``.

    Its own ``success_rate_interval_95`` may be of an earlier version, which took repeats for independent.
    """
    return episodes_interval([Episode(**episode) for episode in record["episodes"]])


def evaluate(
    env: ReplicaVectorEnv,
    policy: PlayedPolicy | Lockstep[PlayedPolicy],
    task_ids: Sequence[int],
    *,
    init_states: Split = "held_out",
    episodes_per_task: int = 0,
    temperature: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
    rows_at_once: int = 0,
    finished: Iterable[Episode] = (),
    on_episode: Callable[[Episode], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Play each task from each initial state of the split.

    Args:
        env: an environment with ``n_samples=1`` and autoreset DISABLED. The number of its rows affects only
            the time taken.
        policy: the policy; greedy at ``temperature`` 0. Several processes pass a :class:`Lockstep` of it and
            share the episodes. Each calls ``on_episode`` and ``progress`` for its own episodes; all return
            the whole evaluation.
        task_ids: tasks of the environment's suite.
        init_states: ``"held_out"``, ``"train"`` or ``"all"``.
        episodes_per_task: number of initial states used of each task, from the first; 0: all.
        temperature: sampling temperature.
        repeats: episodes from each initial state, with different random numbers. A greedy policy plays only
            one, because all would be equal.
        seed: seed of the token sampling.
        rows_at_once: rows in one forward pass of the policy, which bounds its memory; 0: all.
        finished: episodes that an earlier, interrupted call of the same evaluation has played.
        on_episode: called with each episode as it ends.
        progress: called at the beginning and as episodes end, with the numbers of finished and of all.

    Raises:
        TypeError, ValueError: an argument is invalid, or the environment has the wrong ``n_samples``,
            autoreset mode, chunk length or number of action dimensions. Raised before any episode is played.
    """
    lockstep = Lockstep.of(policy)
    check_policy(lockstep.policy, PLAYED)
    check_one_row_an_episode(env, lockstep.policy.chunk_steps)
    check_actions(env, lockstep.policy)
    check_sampling_temperatures("temperature", temperature, ())
    check_seed("seed", seed)
    check_positive_int("repeats", repeats)
    plan = plan_episodes(env.suite.name, task_ids, init_states, episodes_per_task, temperature, repeats)
    episodes = {episode.start: episode for episode in finished}

    def show_progress() -> None:
        if progress is not None:
            progress(len(episodes), len(plan))

    def record(episode: Episode) -> None:
        episodes[episode.start] = episode
        if on_episode is not None:
            on_episode(episode)
        show_progress()

    show_progress()
    world = lockstep.world
    remaining = [start for start in plan if start not in episodes][world.rank :: world.size]
    play_episodes(
        env,
        lockstep,
        remaining,
        temperature=temperature,
        seed=seed,
        on_episode=record,
        rows_at_once=rows_at_once,
    )
    for played in world.gather(episodes):
        episodes.update(played)
    return Evaluation(
        suite=env.suite.name,
        init_states=init_states,
        temperature=temperature,
        max_steps=env.max_steps,
        episodes=[episodes[start] for start in plan],
    )


def plan_episodes(
    suite: str,
    task_ids: Sequence[int],
    init_states: Split,
    episodes_per_task: int,
    temperature: float,
    repeats: int,
) -> list[EpisodeStart]:
    """The episodes of an evaluation, in the order in which they start; arguments as of :func:`evaluate`."""
    check_choice("init_states", init_states, get_args(Split))
    check_positive_int("episodes_per_task", episodes_per_task, minimum=0)
    check_positive_int("repeats", repeats)
    if isinstance(task_ids, (int, np.integer)):
        raise TypeError(f"task_ids: expected a sequence of task ids, got {task_ids}; write [{task_ids}]")
    task_ids = [tasks.check_task_id(suite, task_id, "task_ids") for task_id in task_ids]
    if not task_ids or len(set(task_ids)) < len(task_ids):
        raise ValueError(f"task_ids: expected at least one task, and each once, got {task_ids}")
    return [
        EpisodeStart(task_id=task_id, init_state_id=state, repeat=repeat)
        for repeat in range(repeats if temperature > 0 else 1)
        for task_id in task_ids
        for state in tasks.init_state_ids(suite, task_id, init_states)[: episodes_per_task or None]
    ]


def count_episodes(env: EnvConfig, episodes: EpisodesConfig, temperature: float) -> int:
    """Number of episodes of a configured evaluation at one temperature."""
    plan = plan_episodes(
        env.suite,
        env.task_ids,
        episodes.init_states,
        episodes.episodes_per_task,
        temperature,
        episodes.repeats,
    )
    return len(plan)
