"""The figure of a preview: which states succeed on which rung, and success by temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

_FAILED, _SUCCEEDED, _LINE = "#e8e8e8", "#3b82c4", "tab:blue"


def plot(report: dict[str, Any], file: str | Path) -> None:
    """Plot a preview to a PNG file whose height grows with the number of states."""
    height = min(2.2 + 0.2 * len(report["groups"]), 60.0)
    figure, (states, rungs) = plt.subplots(1, 2, figsize=(10, height), layout="constrained")
    _states(states, report)
    _temperatures(rungs, report["temperatures"])
    low, high = report["success_rate_interval_95"]
    figure.suptitle(
        f"{report['settings']['suite']} before training: {report['success_rate']:.0%} success "
        f"[{low:.0%}, {high:.0%}] in {report['num_episodes']} episodes",
        fontsize=10,
    )
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _states(axes: Axes, report: dict[str, Any]) -> None:
    """A cell an episode; states in the order of tasks and, within a task, of their successes."""
    groups = sorted(
        report["groups"], key=lambda each: (each["task_id"], -sum(each["success"]), each["init_state_id"])
    )
    success = np.array([group["success"] for group in groups], dtype=float)
    axes.imshow(
        success,
        cmap=ListedColormap([_FAILED, _SUCCEEDED]),
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="none",
    )
    axes.set_xticks(np.arange(success.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(groups) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for number, (group, above) in enumerate(zip(groups[1:], groups, strict=False), start=1):
        if group["task_id"] != above["task_id"]:
            axes.axhline(number - 0.5, color="black", linewidth=0.8)
    names = [f"task {group['task_id']}, state {group['init_state_id']}" for group in groups]
    axes.set_yticks(range(len(groups)), names, fontsize=7)
    axes.set_xticks(range(success.shape[1]), [str(rung + 1) for rung in range(success.shape[1])], fontsize=7)
    axes.set_xlabel("episode, in the order of the ladder (blue: success)")


def _temperatures(axes: Axes, rungs: list[dict[str, Any]]) -> None:
    at = [rung["temperature"] for rung in rungs]
    low, high = np.array([rung["success_rate_interval_95"] for rung in rungs]).T
    axes.vlines(at, low, high, color=_LINE, alpha=0.4, linewidth=3)
    axes.plot(at, [rung["success_rate"] for rung in rungs], "o-", color=_LINE)
    axes.set(xlabel="sampling temperature", ylabel="success rate, 95 % interval", ylim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
