"""How often each initial state is solved, estimated from the episodes played from it.

A policy in training changes within few iterations, and each of many states is seldom played. So an estimate
has two parts, which fade at different speeds::

    rate of a state = level of its task + offset of the state

The *level* follows the last iterations. It is the mean outcome of the task's episodes, each less its state's
offset, so that it does not depend on which states were played. The *offset* lasts longer. It is how much more
often a state was solved than its task's level of the time said. After ``n`` episodes it has the weight
``n / (n + prior)`` (credibility theory, Bühlmann 1967). Ratings of learners and exercises work alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.config.schema import MixedOutcomesConfig
from ttrl_env.errors import CheckpointError

_UNKNOWN = 0.5
"""Level before anything has been played."""
_TASK_PRIOR = 4.0
"""Episodes that all tasks together weigh in the level of one, and :data:`_UNKNOWN` in that of all."""
_SMALLEST = 0.01
"""Estimates stay this far from 0 and 1, which a few episodes cannot show."""


class StateOutcomes:
    """Decayed sums over the episodes from ``S`` initial states of ``T`` tasks."""

    def __init__(
        self, config: MixedOutcomesConfig, task_ids: Sequence[int], init_state_ids: Sequence[int]
    ) -> None:
        """``[S]`` each state's task and id."""
        self._task_keep = 0.5 ** (1.0 / config.task_half_life)
        self._state_keep = 0.5 ** (1.0 / config.state_half_life)
        self._prior = config.prior_episodes
        self._states = {key: s for s, key in enumerate(zip(task_ids, init_state_ids, strict=True))}
        self._tasks = {task_id: t for t, task_id in enumerate(dict.fromkeys(task_ids))}
        self._task_of_state = np.array([self._tasks[task_id] for task_id in task_ids])
        self._earned, self._task_episodes = np.zeros((2, len(self._tasks)))
        self._excess, self._state_episodes = np.zeros((2, len(self._states)))

    @property
    def played(self) -> NDArray[np.bool_]:
        """``[S]`` states that have been played in this run."""
        return self._state_episodes > 0

    def record(
        self, task_ids: NDArray[np.int64], init_state_ids: NDArray[np.int64], success: NDArray[np.bool_]
    ) -> None:
        """Let earlier evidence fade by an iteration, and add its episodes, ``[B]`` each."""
        keys = zip(task_ids.tolist(), init_state_ids.tolist(), strict=True)
        state = np.array([self._states[key] for key in keys])
        task = self._task_of_state[state]
        levelled = success - self._offsets()[state]
        self._earned = _faded(self._earned, self._task_keep, task, levelled)
        self._task_episodes = _faded(self._task_episodes, self._task_keep, task)
        excess = success - self._levels()[task]
        self._excess = _faded(self._excess, self._state_keep, state, excess)
        self._state_episodes = _faded(self._state_episodes, self._state_keep, state)

    def success_rates(self) -> NDArray[np.float64]:
        """``[S]`` estimated success rates, from 0.01 to 0.99."""
        return _bounded(self._levels()[self._task_of_state] + self._offsets())

    def saved(self) -> dict[str, list[list[float]]]:
        """The sums of every task, and of each state that has been played, after their ids."""
        tasks = zip(self._tasks, self._earned.tolist(), self._task_episodes.tolist(), strict=True)
        states = zip(self._states, self._excess.tolist(), self._state_episodes.tolist(), strict=True)
        return {
            "tasks": [[task_id, earned, episodes] for task_id, earned, episodes in tasks],
            "states": [[*key, excess, episodes] for key, excess, episodes in states if episodes > 0],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`saved`.

        Raises:
            CheckpointError: it is not that, or about other tasks or states.
        """
        for task_id, earned, episodes in _records(saved, "tasks", {(task_id,) for task_id in self._tasks}):
            t = self._tasks[int(task_id)]
            self._earned[t], self._task_episodes[t] = earned, episodes
        for task_id, state_id, excess, episodes in _records(saved, "states", set(self._states)):
            s = self._states[int(task_id), int(state_id)]
            self._excess[s], self._state_episodes[s] = excess, episodes

    def _levels(self) -> NDArray[np.float64]:
        """``[T]`` recent success rate of a task, whichever of its states were played."""
        total = self._earned.sum() + _TASK_PRIOR * _UNKNOWN
        overall = total / (self._task_episodes.sum() + _TASK_PRIOR)
        return _bounded((self._earned + _TASK_PRIOR * overall) / (self._task_episodes + _TASK_PRIOR))

    def _offsets(self) -> NDArray[np.float64]:
        """``[S]`` how much more often than its task's level a state is solved."""
        return self._excess / (self._state_episodes + self._prior)


def _faded(
    sums: NDArray[np.float64],
    keep: float,
    which: NDArray[np.int64],
    values: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """``keep`` of ``sums``, and the ``values`` (1 by default) of what belongs to ``which`` of them."""
    return keep * sums + np.bincount(which, values, minlength=len(sums))


def _bounded(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(rates, _SMALLEST, 1 - _SMALLEST)


def _records(saved: dict[str, Any], name: str, known: set[tuple[int, ...]]) -> list[list[float]]:
    """The records of tasks or states in a checkpoint: ids of the ``known``, a finite sum, episodes."""
    found = saved.get(name)
    records: list[Any] = found if isinstance(found, list) else [found]
    for record in records:
        usable = isinstance(record, list) and all(type(each) in (int, float) for each in record)
        if not usable or tuple(record[:-2]) not in known or not _finite(*record[-2:]):
            raise CheckpointError(
                f"state.json: outcomes: {name}: expected ids of {name} that are trained on, each with a sum "
                f"and a number of episodes, got {record!r:.80}"
            )
    return records


def _finite(total: float, episodes: float) -> bool:
    return math.isfinite(total) and 0 <= episodes < math.inf
