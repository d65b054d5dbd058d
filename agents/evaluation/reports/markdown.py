"""Formats the dictionary of ``report.json`` as Markdown, for ``report.md``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttrl_env.agents.evaluation.reports.statements import mode, percent, points


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: statements, figure, totals, comparisons, tasks, videos and protocol."""
    parts = [
        "# Evaluation",
        "\n".join(f"- {statement}" for statement in report["statements"]),
        "![Success by task and steps to success](report.png)",
        "## Success\n" + _totals(report["evaluations"]),
        *(_difference(each) for each in report["comparisons"]),
        *(_tasks(each) for each in report["evaluations"]),
        *([_videos(report["videos"])] if report["videos"] else []),
        "## Protocol\n"
        + table(("", ""), [(key, _plain(value)) for key, value in report["protocol"].items()]),
        "Intervals of rates are Wilson's, of differences Newcombe's for paired proportions (method 10), "
        "all at 95 %. Episodes from one initial state are correlated, and count as what they are worth in "
        "independent ones. Every episode is in `report.json`.",
    ]
    return "\n\n".join(parts) + "\n"


def _totals(evaluations: Sequence[dict[str, Any]]) -> str:
    rows = []
    for each in evaluations:
        rows.append((each["checkpoint"], mode(each["temperature"]), "all", *numbers(each)))
        for key, states in (("on_training_states", "trained on"), ("on_other_states", "not trained on")):
            if each["on_training_states"] is not None and each[key] is not None:
                rows.append((each["checkpoint"], mode(each["temperature"]), states, *numbers(each[key])))
    return table(
        (
            "checkpoint",
            "actions",
            "initial states",
            "episodes",
            "success",
            "95 % interval",
            "steps to success",
        ),
        rows,
    )


def _tasks(evaluation: dict[str, Any]) -> str:
    rows = [(str(task["task_id"]), task["instruction"], *numbers(task)) for task in evaluation["tasks"]]
    header = ("task", "instruction", "episodes", "success", "95 % interval", "steps to success")
    return f"### {evaluation['checkpoint']}, {mode(evaluation['temperature'])}\n" + table(header, rows)


def _difference(comparison: dict[str, Any]) -> str:
    header = ("task", "pairs", "gained", "lost", "difference, points", "95 % interval", "")
    parts = [("all", comparison)]
    if len(comparison["tasks"]) > 1:
        parts += [(str(task["task_id"]), task) for task in comparison["tasks"]]
    rows = [
        (
            name,
            str(each["num_pairs"]),
            str(each["gained"]),
            str(each["lost"]),
            points(each["difference"]),
            " to ".join(points(limit) for limit in each["difference_interval_95"]),
            each["verdict"],
        )
        for name, each in parts
    ]
    text = f"## Checkpoint less baseline, {mode(comparison['temperature'])}\n" + table(header, rows)
    if len(parts) > 1:
        text += (
            f"\n\nOf {len(parts) - 1} tasks taken alone, about {0.05 * (len(parts) - 1):.2g} would show a "
            f"difference by chance if nothing had changed."
        )
    return text


def _videos(videos: Sequence[dict[str, Any]]) -> str:
    return "## Videos\n" + "\n".join(f"- [{video['title']}]({video['file']})" for video in videos)


def numbers(totals: dict[str, Any]) -> tuple[str, str, str, str]:
    """Episodes, success rate, its 95 % interval, and steps to success, as a table shows them."""
    low, high = totals["success_rate_interval_95"]
    steps = totals["steps_to_success"]
    return (
        str(totals["num_episodes"]),
        percent(totals["success_rate"]),
        f"{percent(low)} to {percent(high)}",
        "-" if steps is None else f"{steps:.0f}",
    )


def _plain(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, (list, tuple)) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
