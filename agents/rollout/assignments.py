"""Which task and initial state each group plays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.init_states import InitStateStream


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the groups of one rollout play."""

    task_ids: list[int]
    """One task a group."""
    init_state_ids: list[int]
    """One initial state a group."""
    temperature_shifts: list[float] | None = None
    """How much hotter each group samples than the environment says; ``None``: none does."""

    def part(self, groups: slice) -> Assignment:
        """What some of the groups play."""
        return Assignment(
            task_ids=self.task_ids[groups],
            init_state_ids=self.init_state_ids[groups],
            temperature_shifts=self.temperature_shifts and self.temperature_shifts[groups],
        )

    def shifted(self, temperatures: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows' ``temperatures``, those of each group shifted; rows of a group are side by side."""
        if self.temperature_shifts is None:
            return temperatures
        rows = len(temperatures) // len(self.temperature_shifts)
        return (temperatures + np.repeat(self.temperature_shifts, rows)).astype(np.float32)


class Dealer(Protocol):
    """Deals the groups of a run, iteration by iteration. All processes have equal dealers."""

    @property
    def groups_dealt(self) -> int:
        """Groups dealt in the iterations before this one."""

    @property
    def outcomes(self) -> dict[str, Any] | None:
        """What a checkpoint keeps of the episodes' outcomes, if dealing depends on them."""

    def deal(self, draw: int) -> Assignment:
        """What the groups of all processes play in a draw of this iteration, counted from 0."""

    def record(self, played: Rollout, draws: int) -> None:
        """End the iteration, in which all processes together have played ``played`` in ``draws`` draws."""

    def metrics(self) -> dict[str, float]:
        """What the dealer knows of the states it deals."""


class InTurnDealer:
    """Deals tasks in turn, and to each task its training states in a seeded order.

    Every training state of a task is played once before any is played again. What the ``k``-th group
    of a run plays follows from the seed and ``k``, so that a run which knows how many groups it has
    dealt goes on exactly.
    """

    outcomes = None

    def __init__(self, config: TrainConfig, state: TrainingState | None = None) -> None:
        """Begin a run, or go on after the iterations of ``state``."""
        self._num_groups = config.env.num_groups
        self._task_ids = config.env.task_ids
        self._streams = {
            task_id: InitStateStream(config.env.suite, task_id, "train", [config.seed, task_id])
            for task_id in self._task_ids
        }
        self.groups_dealt = state.groups_dealt if state else 0

    def deal(self, draw: int) -> Assignment:
        """See :class:`Dealer`."""
        first = self.groups_dealt + draw * self._num_groups
        dealt = range(first, first + self._num_groups)
        task_ids = [self._task_ids[k % len(self._task_ids)] for k in dealt]
        states = [
            self._streams[task][k // len(self._task_ids)] for task, k in zip(task_ids, dealt, strict=True)
        ]
        return Assignment(task_ids=task_ids, init_state_ids=states)

    def record(self, played: Rollout, draws: int) -> None:
        """See :class:`Dealer`; outcomes change nothing."""
        self.groups_dealt += draws * self._num_groups

    def metrics(self) -> dict[str, float]:
        """Nothing."""
        return {}
