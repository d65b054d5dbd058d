"""The groups of a vector environment: the task of each, and the initial states of its episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.checks import check_positive_int, check_sequence
from ttrl_env.init_states import InitStateStream
from ttrl_env.tasks import Split


class Groups:
    """Every group's task and its seeded sequence of initial states. Immutable."""

    def __init__(
        self,
        suite: str,
        task_ids: Sequence[int],
        init_states: Split | Sequence[int],
        entropy: Sequence[Sequence[int]],
    ) -> None:
        """``task_ids``: one a group; ``init_states``: which of a task's states episodes start from;
        ``entropy``: one a group, what seeds its order of them."""
        self.task_ids: NDArray[np.int64] = np.array(task_ids, dtype=np.int64)
        """``[num_groups]``"""
        self._suite = suite
        self._split = init_states
        self._entropy = list(entropy)
        self._streams = [
            InitStateStream(suite, task_id, init_states, seed)
            for task_id, seed in zip(self.task_ids.tolist(), self._entropy, strict=True)
        ]

    def seeded(self, seed: int | Sequence[int | None]) -> Groups:
        """A copy of these groups in which each starts a new order of initial states.

        One integer seeds all, each differently. Of a list, one a group, each seed gives the order that it
        gives a single environment; groups of ``None`` go on with theirs.
        """
        if isinstance(seed, int):
            return Groups(self._suite, self.task_ids.tolist(), self._split, entropy(seed, len(self.task_ids)))
        seeds = [old if new is None else [new, 0] for old, new in zip(self._entropy, seed, strict=True)]
        seeded = Groups(self._suite, self.task_ids.tolist(), self._split, seeds)
        for group in [group for group, new in enumerate(seed) if new is None]:
            seeded._streams[group] = self._streams[group]
        return seeded

    def assigned(self, task_ids: Sequence[int], whole: NDArray[np.bool_]) -> Groups:
        """A copy of these groups with new tasks, one for each group.

        ``whole`` ``[num_groups]`` says which groups are reset in all their rows. A group that changes its
        task must be one of them.
        """
        chosen = [
            tasks.check_task_id(self._suite, task_id, "options['task_ids']")
            for task_id in self._one_each("task_ids", task_ids)
        ]
        partly = np.flatnonzero((self.task_ids != chosen) & ~whole)
        if partly.size:
            raise ValueError(
                f"options['task_ids']: group {partly[0]} changes its task, so reset all its rows"
            )
        assigned = Groups(self._suite, chosen, self._split, self._entropy)
        for group in np.flatnonzero(self.task_ids == chosen):  # an unchanged group continues its stream
            assigned._streams[group] = self._streams[group]
        return assigned

    def init_states(
        self, groups: NDArray[np.int64], episodes: NDArray[np.int64], given: Sequence[int] | None = None
    ) -> list[int]:
        """Initial states of the episodes ``episodes[k]`` of ``groups[k]``.

        They follow the groups' orders, unless ``given`` has one initial state for each group.
        """
        if given is None:
            return [self._streams[group][k] for group, k in zip(groups, episodes, strict=True)]
        states = self._one_each("init_state_ids", given)
        for group in set(groups.tolist()):
            tasks.init_state_ids(self._suite, int(self.task_ids[group]), [states[group]])
        return [states[group] for group in groups]

    def _one_each(self, option: str, values: Sequence[int]) -> list[int]:
        name = f"options[{option!r}]"
        values = check_sequence(name, values, "integers, one a group")
        if len(values) != len(self.task_ids):
            raise ValueError(
                f"{name}: expected one for each of {len(self.task_ids)} groups, got {len(values)}"
            )
        return [check_positive_int(name, value, minimum=0) for value in values]


def entropy(seed: int, num_groups: int) -> list[list[int]]:
    """What seeds each group's order of initial states where all groups have one ``seed``."""
    return [[seed, group] for group in range(num_groups)]


def group_tasks(suite: str, task_ids: Sequence[int], num_groups: int | None) -> tuple[list[int], int]:
    """The tasks to assign to groups in turn, and the number of groups (default: one for each task)."""
    members = check_sequence("task_ids", task_ids, "task ids")
    ids = [tasks.check_task_id(suite, task_id, "task_ids") for task_id in members]
    num_groups = len(ids) if num_groups is None else check_positive_int("num_groups", num_groups)
    if num_groups % len(ids):
        raise ValueError(
            f"num_groups: expected a multiple of the {len(ids)} task_ids, so that each has as many groups, "
            f"got {num_groups} (num_envs / n_samples groups)"
        )
    return ids, num_groups
