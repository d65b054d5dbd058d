"""The figure of the experiment's results: training curves, and results on held-out states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.ttrl_result.arms import ARMS
from benchmarks.ttrl_result.families import FAMILIES
from benchmarks.ttrl_result.rates import rate
from benchmarks.ttrl_result.table import LEVEL, sampled

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

SMOOTHING = 5
"""Number of iterations over which training curves are averaged."""


def plot(results: Sequence[dict[str, Any]], family: str, file: Path) -> None:
    """Plot the arms that a family runs by default to a PNG file.

    Thick lines and bars are means over seeds; thin lines and dots are single seeds; upright lines are 95 %
    intervals with initial states and seeds as clusters.
    """
    mine = [result for result in results if result["family"] == family]
    arms = [ARMS[name] for name in FAMILIES[family].arms if any(result["arm"] == name for result in mine)]
    curves = FAMILIES[family].evaluate_every > 0
    figure, axes = plt.subplots(1, 4 + curves, figsize=(16 + 4 * curves, 4.2), layout="constrained")
    held_out = ((axes[2], "success_rate"), (axes[3], "steps_to_success"))
    for place, arm in enumerate(arms):
        runs = [result for result in mine if result["arm"] == arm.name]
        colour = f"C{FAMILIES[family].arms.index(arm.name)}"
        label = f"{arm.title}, {len(runs)} seed{'s' * (len(runs) > 1)}"
        _curve(axes[0], [run["training_success"] for run in runs], colour, label)
        _curve(axes[1], [run["training_steps_to_success"] for run in runs], colour, label)
        if curves:
            _held_out_curves(axes[4], [run["held_out_curve"] for run in runs], colour)
        for panel, key in held_out:
            _seeds(panel, place, [sampled(run, "checkpoint")[key] for run in runs], colour)
        _, low, high = rate([sampled(run, "checkpoint") for run in runs])
        axes[2].vlines(place - 0.22, low, high, color=colour, linewidth=1.5)
    for panel, key in held_out:
        before = sampled(mine[0], "baseline")[key]
        if before is not None:
            panel.axhline(before, color="gray", linestyle="--")
            panel.text(len(arms) - 0.55, before, "before", color="gray", ha="right", va="bottom")
        panel.set_xticks(range(len(arms)), [arm.name for arm in arms])
        panel.set_xlim(-0.6, len(arms) - 0.4)
    axes[0].set(xlabel="iteration", title="success in training", ylim=(0, 1.05))
    axes[1].set(xlabel="iteration", title="steps to success in training")
    axes[2].set(title="success, held-out states, 95 % interval", ylim=(0, 1.05))
    axes[3].set(title="steps to success, held-out states")
    if curves:
        axes[4].set(xlabel="episodes of training", title="success, held-out states", ylim=(0, 1.05))
        axes[4].axhline(LEVEL, color="gray", linestyle=":")
    figure.suptitle(FAMILIES[family].title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(arms))
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _curve(axes: Axes, runs: Sequence[Sequence[float | None]], colour: str, label: str) -> None:
    length = min(len(run) for run in runs)
    values = np.array([[np.nan if v is None else v for v in run[:length]] for run in runs])
    window = min(SMOOTHING, length)
    smooth = np.stack([np.convolve(run, np.ones(window) / window, mode="valid") for run in values])
    iterations = np.arange(window, length + 1)
    axes.plot(iterations, smooth.mean(axis=0), color=colour, label=label)
    axes.plot(iterations, smooth.T, color=colour, alpha=0.25, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _held_out_curves(axes: Axes, runs: Sequence[Sequence[dict[str, int]]], colour: str) -> None:
    played = np.array([[point["trained_on"] for point in run] for run in runs])
    rates = np.array([[point["num_successes"] / point["num_episodes"] for point in run] for run in runs])
    axes.plot(played.mean(axis=0), rates.mean(axis=0), "o-", color=colour, markersize=3)
    axes.plot(played.T, rates.T, color=colour, alpha=0.25, linewidth=0.8)


def _seeds(axes: Axes, place: int, values: Sequence[float | None], colour: str) -> None:
    """Plot a bar at the mean and a dot for each seed; ``None``, for a seed without success, is left out."""
    known = [value for value in values if value is not None]
    if known:
        axes.hlines(np.mean(known), place - 0.3, place + 0.3, color=colour, linewidth=3)
        axes.plot(place + np.linspace(-0.1, 0.1, len(known)), known, "o", color=colour, alpha=0.6)
