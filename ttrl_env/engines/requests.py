"""Checks of the arguments of an engine's methods, before any of the work is done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from ttrl_env import tasks
from ttrl_env.checks import check_positive_int


class Playing(Protocol):
    """What a check needs to know of an engine's settings."""

    @property
    def suite(self) -> str:
        """The suite whose tasks are played."""

    @property
    def num_rows(self) -> int:
        """The number of simulations."""


def check_reset(
    config: Playing, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]
) -> None:
    """Raise unless a reset has one task and one initial state for each row, and all of them exist."""
    _check_lengths(rows, task_ids=task_ids, init_state_ids=init_state_ids)
    _check_distinct(rows)
    for row in rows:
        check_positive_int("rows", row, minimum=0, maximum=config.num_rows - 1)
    for task_id, init_state_id in set(zip(task_ids, init_state_ids, strict=True)):
        tasks.check_task_id(config.suite, task_id, "task_ids")
        tasks.init_state_ids(config.suite, task_id, [init_state_id])


def check_started(rows: Sequence[int], started: Collection[int]) -> None:
    """Raise unless every one of ``rows`` has been reset."""
    _check_distinct(rows)
    waiting = [row for row in rows if row not in started]
    if waiting:
        raise ValueError(f"rows: {waiting} play nothing yet (or their last reset failed); reset them first")


def _check_distinct(rows: Sequence[int]) -> None:
    if len(set(rows)) < len(rows):
        raise ValueError(f"rows: expected each row once, got {list(rows)}")


def _check_lengths(rows: Sequence[int], **arguments: Sequence[int]) -> None:
    for name, values in arguments.items():
        if len(values) != len(rows):
            raise ValueError(f"{name}: expected one for each of {len(rows)} rows, got {len(values)}")
