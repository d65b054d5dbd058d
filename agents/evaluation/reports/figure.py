"""The figure of a report: success rates by task with their intervals, and steps to success."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ttrl_env.agents.evaluation.reports.statements import mode, points

_COLOURS = ("tab:gray", "tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def plot(report: dict[str, Any], file: str | Path) -> None:
    """Plot a report to a PNG file whose height grows with the number of tasks."""
    evaluations = report["evaluations"]
    tasks = [f"{task['task_id']}  {_lines(task['instruction'])}" for task in evaluations[0]["tasks"]]
    rows = ["all", *tasks] if len(tasks) > 1 else tasks
    height = 1.6 + 0.16 * len(rows) * (1 + len(evaluations))
    figure, (success, steps) = plt.subplots(
        1, 2, figsize=(12, height), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    for index, evaluation in enumerate(evaluations):
        entries = [evaluation, *evaluation["tasks"]] if len(tasks) > 1 else evaluation["tasks"]
        offsets = [row + _offset(index, len(evaluations)) for row in range(len(rows))]
        label = f"{evaluation['checkpoint']}, {mode(evaluation['temperature'])}"
        _success(success, offsets, entries, _COLOURS[index % len(_COLOURS)], label)
        _steps(steps, offsets, entries, evaluation["episodes"], _COLOURS[index % len(_COLOURS)])
    success.set(xlabel="success rate, 95 % interval", xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6))
    success.set_yticks(range(len(rows)), rows, fontsize=7)
    steps.set(
        xlabel="policy steps to success: episodes and their mean", xlim=(0, report["protocol"]["max_steps"])
    )
    success.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)
    figure.suptitle(_title(report), fontsize=10)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _success(
    axes: Axes, rows: list[float], entries: Sequence[dict[str, Any]], colour: str, label: str
) -> None:
    for number, (row, entry) in enumerate(zip(rows, entries, strict=True)):
        low, high = entry["success_rate_interval_95"]
        axes.plot([low, high], [row, row], color=colour, linewidth=1.5, alpha=0.6)
        axes.plot(entry["success_rate"], row, "o", color=colour, label=label if number == 0 else None)


def _steps(
    axes: Axes,
    rows: list[float],
    entries: Sequence[dict[str, Any]],
    episodes: Sequence[dict[str, Any]],
    colour: str,
) -> None:
    for row, entry in zip(rows, entries, strict=True):
        if entry["steps_to_success"] is None:
            continue
        played = [
            episode["finish_step"]
            for episode in episodes
            if episode["success"] and entry.get("task_id", episode["task_id"]) == episode["task_id"]
        ]
        axes.plot(played, [row] * len(played), "|", color=colour, alpha=0.5)
        axes.plot(entry["steps_to_success"], row, "o", color=colour)


def _offset(index: int, count: int) -> float:
    """Vertical offset that separates the evaluations of one task."""
    return 0.6 * ((index + 0.5) / count - 0.5)


def _lines(text: str, width: int = 48) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def _title(report: dict[str, Any]) -> str:
    protocol = report["protocol"]
    title = f"{protocol['suite']}, {protocol['init_states']} initial states, horizon {protocol['max_steps']}"
    for comparison in report["comparisons"]:
        low, high = comparison["difference_interval_95"]
        title += (
            f"\ncheckpoint less baseline, {mode(comparison['temperature'])}: "
            f"{points(comparison['difference'])} points [{points(low)}, {points(high)}]"
        )
    return title
