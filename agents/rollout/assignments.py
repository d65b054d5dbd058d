"""Which task and initial state each group plays, from the seed and its number alone."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.init_states import InitStateStream


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the groups of one rollout play."""

    task_ids: list[int]
    """One task a group."""
    init_state_ids: list[int]
    """One initial state a group."""

    def part(self, groups: slice) -> Assignment:
        """What some of the groups play."""
        return Assignment(task_ids=self.task_ids[groups], init_state_ids=self.init_state_ids[groups])


class TaskDealer:
    """Deals tasks in turn, and to each task its training states in a seeded order.

    Every training state of a task is played once before any is played again. What the ``k``-th group
    of a run plays follows from the seed and ``k``, so that a run which knows how many groups it has
    dealt goes on exactly.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._num_groups = config.env.num_groups
        self._task_ids = config.env.task_ids
        self._streams = {
            task_id: InitStateStream(config.env.suite, task_id, "train", [config.seed, task_id])
            for task_id in self._task_ids
        }

    def deal(self, first: int) -> Assignment:
        """The assignment of one rollout, of which ``first`` groups have been dealt before."""
        dealt = range(first, first + self._num_groups)
        task_ids = [self._task_ids[k % len(self._task_ids)] for k in dealt]
        states = [
            self._streams[task][k // len(self._task_ids)] for task, k in zip(task_ids, dealt, strict=True)
        ]
        return Assignment(task_ids=task_ids, init_state_ids=states)
