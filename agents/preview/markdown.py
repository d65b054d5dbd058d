"""Formats the dictionary of ``preview.json`` as Markdown, for ``preview.md``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttrl_env.agents.evaluation.reports.markdown import numbers, table

_NUMBERS = ("episodes", "success", "95 % interval", "steps to success")


def markdown(report: dict[str, Any]) -> str:
    """The preview as Markdown: statements, advice, figure, and tables of tasks, temperatures and states."""
    parts = [
        "# Before training",
        _list(report["statements"]),
        *(["## What to try\n" + _list(report["advice"])] if report["advice"] else []),
        "![Success by initial state and temperature](preview.png)",
        "## Tasks\n" + _tasks(report["tasks"]),
        "## Temperatures\n" + _temperatures(report["temperatures"]),
        "## Initial states\n"
        "Episodes stand in the order of the ladder: `#` succeeded, `.` failed.\n\n"
        + _states(report["groups"]),
        "## Settings\n" + table(("", ""), [(key, str(value)) for key, value in report["settings"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def marks(success: Sequence[bool]) -> str:
    """A group's episodes in the order of the ladder, a mark each."""
    return "".join("#" if each else "." for each in success)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _tasks(tasks: Sequence[dict[str, Any]]) -> str:
    header = ("task", "instruction", *_NUMBERS, "states: mixed", "always fail", "always succeed")
    rows = [
        (
            str(task["task_id"]),
            task["instruction"],
            *numbers(task),
            *(str(task[kind]) for kind in ("mixed", "always_fail", "always_succeed")),
        )
        for task in tasks
    ]
    return table(header, rows)


def _temperatures(rungs: Sequence[dict[str, Any]]) -> str:
    return table(
        ("temperature", *_NUMBERS), [(f"{rung['temperature']:.3g}", *numbers(rung)) for rung in rungs]
    )


def _states(groups: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            str(group["task_id"]),
            str(group["init_state_id"]),
            f"`{marks(group['success'])}`",
            f"{sum(group['success'])} of {len(group['success'])}",
        )
        for group in groups
    ]
    return table(("task", "initial state", "episodes", "succeeded"), rows)
