"""``ttrl preview``: before training, what a run can learn from a policy on its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.commands.train import load_run
from ttrl_env.agents.common.consoles import make_console
from ttrl_env.agents.common.interrupts import ending_at_once
from ttrl_env.agents.preview.config import PreviewConfig

SCHEMA = PreviewConfig

_MOST_STATES = 24
"""States that are listed in the terminal; a table of more is left to the report."""


def run(arguments: Sequence[str]) -> int:
    """Preview a run as configured by ``key=value`` arguments."""
    config = read_arguments("preview", arguments, SCHEMA, _load)
    if config is None:
        return 0
    report = _preview(config)
    show(report, make_console(soft_wrap=True))
    if config.output is not None:
        make_console(soft_wrap=True).print(f"Report: {Path(config.output) / 'preview.md'}", markup=False)
    return 0


def show(report: dict[str, Any], console: Console) -> None:
    """Print a preview: tasks, temperatures, states if they are few, sentences and advice."""
    console.print(_tasks(report))
    console.print(_temperatures(report["temperatures"]))
    if len(report["groups"]) <= _MOST_STATES:
        console.print(_states(report["groups"]))
    for statement in report["statements"]:
        console.print(f"- {statement}", markup=False)
    if report["advice"]:
        console.print("What to try:", markup=False)
    for each in report["advice"]:
        console.print(f"- {each}", markup=False)


def _load(overrides: Sequence[str]) -> PreviewConfig:
    return load_run(PreviewConfig, overrides)


def _preview(config: PreviewConfig) -> dict[str, Any]:
    with ending_at_once():
        from ttrl_env.agents.commands.terminal import make_display
        from ttrl_env.agents.preview.run import preview

    display = make_display()
    try:
        return preview(config, display)
    except KeyboardInterrupt:
        if config.output is not None:
            display.say(f"Finished rollouts are kept in {config.output}: the same command goes on with them")
        raise


def _tasks(report: dict[str, Any]) -> Table:
    kinds = ("mixed", "always_fail", "always_succeed")
    table = Table(
        *("task", "instruction", "episodes", "success", "95 % interval", "steps"),
        *("states: mixed", "always fail", "always succeed"),
        title="Before training",
    )
    for task in report["tasks"]:
        table.add_row(
            str(task["task_id"]), task["instruction"], *_numbers(task), *(str(task[kind]) for kind in kinds)
        )
    if len(report["tasks"]) > 1:
        table.add_section()
        table.add_row("all", "", *_numbers(report), *(str(report["teaching"][kind]) for kind in kinds))
    return table


def _temperatures(rungs: Sequence[dict[str, Any]]) -> Table:
    table = Table("temperature", "episodes", "success", "95 % interval", "steps")
    for rung in rungs:
        table.add_row(f"{rung['temperature']:.3g}", *_numbers(rung))
    return table


def _states(groups: Sequence[dict[str, Any]]) -> Table:
    from ttrl_env.agents.preview.markdown import marks

    table = Table("task", "state", "episodes by temperature", "succeeded")
    for group in groups:
        table.add_row(
            str(group["task_id"]),
            str(group["init_state_id"]),
            marks(group["success"]),
            f"{sum(group['success'])} of {len(group['success'])}",
        )
    return table


def _numbers(totals: dict[str, Any]) -> tuple[str, str, str, str]:
    low, high = totals["success_rate_interval_95"]
    steps = totals["steps_to_success"]
    return (
        str(totals["num_episodes"]),
        f"{totals['success_rate']:.0%}",
        f"{low:.0%} - {high:.0%}",
        "-" if steps is None else f"{steps:.0f}",
    )
