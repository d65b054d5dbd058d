"""The Markdown tables of ``docs/which-libero.md``, from the results of a scan."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ttrl_env import libero_tasks, tasks
from ttrl_env.published_scenes import CAMERAS, POSITION_TOLERANCE_M

Comparisons = Sequence[dict[str, Any]]
"""Comparisons of one version of MuJoCo with the published one, an entry a task."""

SEEN = 1.0
"""Smallest change of an image's mean colour, in grey levels, that counts as visible."""


def by_suite(comparisons: Comparisons) -> str:
    """A table with a row a suite: in how many tasks bodies moved, and how much images differ."""
    header = (
        "suite",
        "tasks",
        "bodies moved",
        "furthest",
        "agentview, median",
        "largest",
        "wrist, median",
        "largest",
    )
    rows = []
    for suite in tasks.LIBERO_SUITES:
        mine = [each for each in comparisons if each["suite"] == suite]
        if mine:
            moved = [each for each in mine if is_moved(each)]
            furthest = max(mine, key=lambda each: each["distance_mm"])
            images = [[each[camera]["mean_difference"] for each in mine] for camera in CAMERAS]
            differences = [f"{f(values):.2f}" for values in images for f in (statistics.median, max)]
            rows.append(
                (suite, str(len(mine)), str(len(moved)), f"{furthest['distance_mm']:.2f} mm", *differences)
            )
    return table(header, rows)


def moved_tasks(comparisons: Comparisons) -> str:
    """A table with a row for each task in which a body moved, the largest distance first."""
    moved = sorted(filter(is_moved, comparisons), key=lambda each: -each["distance_mm"])
    rows = [
        (
            f"{each['suite']} {each['task_id']}",
            libero_tasks.get_task(each["suite"], each["task_id"]).instruction,
            each["moved_most"],
            f"{each['distance_mm'] / 10:.1f} cm",
        )
        for each in moved
    ]
    return table(("task", "instruction", "body that moved most", "by"), rows)


def repainted_tasks(comparisons: Comparisons) -> str:
    """A table with a row a suite: its tasks whose images differ in mean colour, and by how much."""
    rows = []
    for suite in tasks.LIBERO_SUITES:
        mine = [each for each in comparisons if each["suite"] == suite and is_repainted(each)]
        if mine:
            changes = [[each[camera]["mean_change"] for each in mine] for camera in CAMERAS]
            ids = ", ".join(str(each["task_id"]) for each in mine)
            rows.append((suite, ids, *(f"{min(each):+.1f} to {max(each):+.1f}" for each in changes)))
    return table(("suite", "tasks", "agentview, mean change in grey levels", "wrist"), rows)


def is_moved(comparison: dict[str, Any]) -> bool:
    """Whether a body moved further from its published position than ``ttrl doctor`` tolerates."""
    return comparison["distance_mm"] > 1e3 * POSITION_TOLERANCE_M


def is_repainted(comparison: dict[str, Any]) -> bool:
    """Whether a camera's mean colour differs visibly although no body moved."""
    return not is_moved(comparison) and any(abs(comparison[c]["mean_change"]) >= SEEN for c in CAMERAS)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
