"""The task catalogue of every suite: names, instructions, horizons, ids of initial states.

RoboTwin's is known with nothing installed. LIBERO's suites and counts are too; their tasks are read from the
installed LIBERO, by :mod:`ttrl_env.libero_tasks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from ttrl_env import libero_tasks
from ttrl_env.checks import check_positive_int, check_sequence
from ttrl_env.errors import unknown_name
from ttrl_env.robotwin import catalogue
from ttrl_env.suites import (
    LIBERO_SUITES,
    SUITES,
    Suite,
    Task,
    check_task_id,
    get_suite,
    liberos_name,
    original_suite,
    suite_names,
)

__all__ = [
    "LIBERO_SUITES",
    "SUITES",
    "TRAIN_FRACTION",
    "Split",
    "Suite",
    "Task",
    "check_task_id",
    "get_suite",
    "get_task",
    "horizon",
    "init_state_ids",
    "liberos_name",
    "num_init_states",
    "original_suite",
    "suite_names",
]

Split: TypeAlias = Literal["train", "held_out", "all"]
"""``train``: the first 80 % of a task's initial states (LIBERO: 40 of 50; RoboTwin: 80 of 100);
``held_out``: the rest; ``all``: every state, for LIBERO the published 50-state protocol, which overlaps with
training."""

TRAIN_FRACTION = 0.8


def get_task(suite: str, task_id: int) -> Task:
    """One task of any suite; LIBERO's are read from the installed LIBERO.

    >>> get_task("robotwin", 45).name
    'stack_blocks_two'
    """
    if get_suite(suite).benchmark == "robotwin":
        return catalogue.TASKS[check_task_id(suite, task_id)]
    return libero_tasks.get_task(suite, task_id)


def horizon(suite: str, task_ids: Sequence[int]) -> int:
    """Default ``max_steps`` of an environment that plays these tasks: the longest of their horizons.

    It is known with no simulator installed.

    >>> horizon("robotwin", (44, 45)), horizon("libero_10", (0,))
    (400, 520)
    """
    found = get_suite(suite)
    ids = [check_task_id(suite, task_id) for task_id in task_ids]
    if found.benchmark == "robotwin":
        return max(catalogue.TASKS[task_id].horizon for task_id in ids)
    return found.horizon


def num_init_states(suite: str, task_id: int) -> int:
    """How many initial states a task has."""
    if get_suite(suite).benchmark == "robotwin":
        check_task_id(suite, task_id)
        return catalogue.NUM_INIT_STATES
    return len(libero_tasks.init_states(suite, task_id))


def init_state_ids(suite: str, task_id: int, split: Split | Sequence[int] = "train") -> tuple[int, ...]:
    """Ids of the initial states in a split, or an explicit selection after checking it.

    Training and held-out evaluation use disjoint splits by default, so that an evaluation measures
    states the policy was not trained on.
    """
    num_states = num_init_states(suite, task_id)
    if isinstance(split, str):
        num_train = round(TRAIN_FRACTION * num_states)
        ranges = {"train": (0, num_train), "held_out": (num_train, num_states), "all": (0, num_states)}
        if split not in ranges:
            raise unknown_name("init_states", split, get_args(Split))
        return tuple(range(*ranges[split]))
    states = check_sequence("init_states", split, "ids of initial states", minimum=0)
    chosen = tuple(check_positive_int("init_states", state, minimum=0) for state in states)
    wrong = [state for state in chosen if state >= num_states]
    if wrong or not chosen:
        raise ValueError(
            f"init_states: {suite} task {task_id} has initial states 0 to {num_states - 1}, "
            f"got {wrong if wrong else 'none'}"
        )
    return chosen
