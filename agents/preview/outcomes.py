"""What a preview has played: for each initial state and rung of the ladder, success and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.rewards import RewardName, episode_reward


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """``G`` groups of ``N`` episodes: a group is a task and an initial state, and has one episode a rung."""

    task_ids: NDArray[np.int64]
    """``[G]`` tasks."""
    init_state_ids: NDArray[np.int64]
    """``[G]`` initial states."""
    temperatures: NDArray[np.float32]
    """``[N]`` sampling temperature of each rung."""
    success: NDArray[np.bool_]
    """``[G, N]`` whether the task was solved."""
    steps: NDArray[np.int64]
    """``[G, N]`` executed policy steps."""
    diverged: NDArray[np.bool_]
    """``[G, N]`` episodes that ended because their simulation diverged; they count as failures."""
    max_steps: int
    """Horizon in policy steps."""

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """``[G]`` groups in which some episodes succeed and some fail."""
        return np.asarray(self.success.any(1) & ~self.success.all(1))

    def with_spread(self, reward: RewardName) -> NDArray[np.bool_]:
        """``[G]`` groups whose rewards are not all equal."""
        rewards = episode_reward(reward, self.success, self.steps, self.max_steps)
        return np.asarray(np.ptp(rewards, axis=1) != 0)

    def of_task(self, task_id: int) -> Outcomes:
        """The groups of one task."""
        return self._groups(self.task_ids == task_id)

    def at(self, rungs: Sequence[int]) -> Outcomes:
        """The episodes of some rungs."""
        picked = {name: getattr(self, name)[:, rungs] for name in ("success", "steps", "diverged")}
        return replace(self, temperatures=self.temperatures[rungs], **picked)

    def _groups(self, kept: NDArray[np.bool_]) -> Outcomes:
        names = ("task_ids", "init_state_ids", "success", "steps", "diverged")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def gather(
    starts: Sequence[tuple[int, int]],
    episodes: Sequence[Episode],
    temperatures: NDArray[np.float32],
    max_steps: int,
) -> Outcomes:
    """The outcomes of episodes whose ``repeat`` is their rung, one for each start and rung.

    Args:
        starts: the task and initial state of each group, in the order of the result.
        episodes: at least those of the starts.
        temperatures: ``[N]`` the ladder.
        max_steps: horizon in policy steps.
    """
    by_start = {(each.task_id, each.init_state_id, each.repeat): each for each in episodes}
    rungs = range(len(temperatures))
    table = [[by_start[task, state, rung] for rung in rungs] for task, state in starts]
    return Outcomes(
        task_ids=np.array([task for task, _ in starts], dtype=np.int64),
        init_state_ids=np.array([state for _, state in starts], dtype=np.int64),
        temperatures=temperatures,
        success=np.array([[each.success for each in row] for row in table], dtype=np.bool_),
        steps=np.array([[each.finish_step for each in row] for row in table], dtype=np.int64),
        diverged=np.array([[each.failure is not None for each in row] for row in table], dtype=np.bool_),
        max_steps=max_steps,
    )
