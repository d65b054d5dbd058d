"""The groups of a vector environment: the task of each, and where its next episodes start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.checks import check_positive_int
from ttrl_env.init_state_stream import InitStateStream
from ttrl_env.tasks import Split


class Groups:
    """Every group's task and its seeded sequence of initial states; :meth:`seed` comes first."""

    def __init__(self, suite: str, task_ids: Sequence[int], init_states: Split | Sequence[int]) -> None:
        """``task_ids``: one a group; ``init_states``: which of a task's states episodes start from."""
        self.task_ids: NDArray[np.int64] = np.array(task_ids, dtype=np.int64)
        """``[num_groups]``"""
        self._suite = suite
        self._split = init_states

    def seed(self, entropy: Sequence[Any]) -> None:
        """Restart every group's order of initial states."""
        self._entropy = [int(value) for value in entropy]
        self._streams = [self._stream(group) for group in range(len(self.task_ids))]

    def assign(self, task_ids: Sequence[int], whole: NDArray[np.bool_]) -> None:
        """Give each group the task that it plays from now on.

        ``whole`` ``[num_groups]`` says which groups are reset with all their rows, as one that changes
        its task must be.
        """
        for group, task_id in enumerate(self._one_each("task_ids", task_ids)):
            if tasks.check_task_id(self._suite, task_id, "options['task_ids']") == self.task_ids[group]:
                continue
            if not whole[group]:
                raise ValueError(
                    f"options['task_ids']: group {group} changes its task, so reset all its rows"
                )
            self.task_ids[group] = task_id
            self._streams[group] = self._stream(group)

    def init_states(
        self, groups: NDArray[np.int64], episodes: NDArray[np.int64], given: Sequence[int] | None = None
    ) -> list[int]:
        """Where episodes ``episodes[k]`` of ``groups[k]`` start: the groups' next states, or those given.

        ``given`` has one initial state a group.
        """
        if given is None:
            return [self._streams[group][k] for group, k in zip(groups, episodes, strict=True)]
        states = self._one_each("init_state_ids", given)
        for group in set(groups.tolist()):
            tasks.init_state_ids(self._suite, int(self.task_ids[group]), [states[group]])
        return [states[group] for group in groups]

    def _stream(self, group: int) -> InitStateStream:
        task_id = int(self.task_ids[group])
        return InitStateStream(self._suite, task_id, self._split, [*self._entropy, group])

    def _one_each(self, option: str, values: Sequence[int]) -> list[int]:
        if len(values) != len(self.task_ids):
            raise ValueError(
                f"options[{option!r}]: expected one for each of {len(self.task_ids)} groups, "
                f"got {len(values)}"
            )
        return [check_positive_int(f"options[{option!r}]", value, minimum=0) for value in values]


def group_tasks(suite: str, task_ids: Sequence[int], num_groups: int | None) -> list[int]:
    """The task of each group: the tasks in turn, ``num_groups`` in all (default: one group a task)."""
    if isinstance(task_ids, (int, np.integer)) or not len(task_ids):
        raise ValueError(f"task_ids: expected a non-empty sequence of task ids, got {task_ids!r}")
    ids = [tasks.check_task_id(suite, task_id, "task_ids") for task_id in task_ids]
    num_groups = len(ids) if num_groups is None else check_positive_int("num_groups", num_groups)
    if num_groups % len(ids):
        raise ValueError(
            f"num_groups: expected a multiple of the {len(ids)} task_ids, so that each has as many groups, "
            f"got {num_groups} (num_envs / n_samples groups)"
        )
    return ids * (num_groups // len(ids))
