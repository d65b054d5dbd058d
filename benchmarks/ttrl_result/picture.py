"""The experiment's results as a picture: how training goes, and what is left of it on held-out states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.ttrl_result.arms import ARMS
from benchmarks.ttrl_result.families import FAMILIES
from benchmarks.ttrl_result.table import sampled

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

SMOOTHING = 5
"""Iterations that a point of a training curve is the mean of."""


def draw(results: Sequence[dict[str, Any]], family: str, file: Path) -> None:
    """Draw one family's results as a PNG; lines and bars are means over seeds, dots single seeds."""
    mine = [result for result in results if result["family"] == family]
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    for colour, (name, arm) in enumerate(ARMS.items()):
        runs = [result for result in mine if result["arm"] == name]
        if not runs:
            continue
        style = {"color": f"C{colour}", "label": arm.title}
        _curve(axes[0], [run["training_success"] for run in runs], **style)
        _curve(axes[1], [run["training_steps_to_success"] for run in runs], **style)
        for place, key in ((axes[2], "success_rate"), (axes[3], "steps_to_success")):
            _bar(place, colour, [sampled(run, "checkpoint")[key] for run in runs], style["color"])
    for place, key in ((axes[2], "success_rate"), (axes[3], "steps_to_success")):
        place.axhline(sampled(mine[0], "baseline")[key], color="gray", linestyle="--", label="no adaptation")
        place.set_xticks(range(len(ARMS)), ARMS)
        place.legend(fontsize=8, loc="lower right")
    axes[0].set(xlabel="iteration", ylabel="success in training", ylim=(0, 1.05))
    axes[0].legend(fontsize=8, loc="lower right")
    axes[1].set(xlabel="iteration", ylabel="steps to success in training")
    axes[2].set(ylabel="success, held-out states", ylim=(0, 1.05))
    axes[3].set(ylabel="steps to success, held-out states", ylim=(0, None))
    figure.suptitle(FAMILIES[family].title)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _curve(axes: Axes, runs: Sequence[Sequence[float | None]], **style: Any) -> None:
    length = min(len(run) for run in runs)
    values = np.array([[np.nan if v is None else v for v in run[:length]] for run in runs])
    window = min(SMOOTHING, length)
    smooth = np.stack([np.convolve(run, np.ones(window) / window, mode="valid") for run in values])
    iterations = np.arange(window, length + 1)
    axes.plot(iterations, smooth.mean(axis=0), **style)
    for run in smooth:
        axes.plot(iterations, run, color=style["color"], alpha=0.25, linewidth=0.8)


def _bar(axes: Axes, place: int, values: Sequence[float | None], colour: str) -> None:
    known = [value for value in values if value is not None]
    if known:
        axes.bar(place, np.mean(known), color=colour, alpha=0.6)
        axes.plot([place] * len(known), known, "o", color="black", markersize=3)
