"""``ttrl tasks``: the catalogue of suites, or the tasks of one suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.commands.listing import print_rows
from ttrl_env.agents.config.bounds import Text
from ttrl_env.tasks import SUITES, get_suite, get_task


@dataclass(frozen=True, kw_only=True)
class TasksConfig:
    """What is listed."""

    suite: Annotated[str | None, Text()] = None
    """Suite whose tasks are listed; null: all suites."""
    json: bool = False
    """As JSON, for programs; `--json` is short for it."""


SCHEMA = TasksConfig


def run(arguments: Sequence[str]) -> int:
    """Print the suites, or one suite's tasks."""
    config = read_arguments("tasks", arguments, SCHEMA)
    if config is None:
        return 0
    rows = _suites() if config.suite is None else _tasks(config.suite)
    print_rows(rows, config.json)
    return 0


def _suites() -> list[dict[str, Any]]:
    return [
        {
            "suite": suite.name,
            "environment_id": f"ttrl_env/{suite.gym_name}-v0",
            "tasks": suite.num_tasks,
            "horizon": suite.horizon,
        }
        for suite in SUITES.values()
    ]


def _tasks(suite: str) -> list[dict[str, Any]]:
    tasks = (get_task(suite, task_id) for task_id in range(get_suite(suite).num_tasks))
    return [
        {
            "id": task.task_id,
            "horizon": task.horizon,
            "instruction": task.instruction,
            "name": task.name,
        }
        for task in tasks
    ]
