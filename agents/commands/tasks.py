"""``ttrl tasks``: the catalogue of suites, or the tasks of one suite."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ttrl_env.tasks import SUITES, get_suite, get_task


def run(arguments: Sequence[str]) -> int:
    """Print the suites, or one suite's tasks."""
    parser = argparse.ArgumentParser(prog="ttrl tasks", description=__doc__)
    parser.add_argument("suite", nargs="?", help="suite whose tasks are listed; without it, all suites")
    suite = parser.parse_args(arguments).suite
    table = _suites() if suite is None else _tasks(suite)
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
