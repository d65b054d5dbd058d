"""``ttrl tasks``: the catalogue of suites, or the tasks of one suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.table import Table

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.config.bounds import Text
from ttrl_env.tasks import SUITES, get_suite, get_task


@dataclass(frozen=True, kw_only=True)
class TasksConfig:
    """What is listed."""

    suite: Annotated[str | None, Text()] = None
    """Suite whose tasks are listed; null: all suites."""


def run(arguments: Sequence[str]) -> int:
    """Print the suites, or one suite's tasks."""
    config = read_arguments(arguments, TasksConfig, usage="ttrl tasks [SUITE]", subject="suite")
    if config is not None:
        table = _suites() if config.suite is None else _tasks(config.suite)
        Console(highlight=False).print(table, markup=False)
    return 0


def _suites() -> Table:
    table = Table("suite", "environment id", "tasks", "horizon", box=None, pad_edge=False)
    for suite in SUITES.values():
        table.add_row(suite.name, f"ttrl_env/{suite.gym_name}-v0", str(suite.num_tasks), str(suite.horizon))
    return table


def _tasks(suite: str) -> Table:
    table = Table("id", "instruction", "name", box=None, pad_edge=False)
    for task_id in range(get_suite(suite).num_tasks):
        task = get_task(suite, task_id)
        table.add_row(str(task_id), task.instruction, task.name)
    return table
