"""Plots a training run's curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.evaluation.evaluate import recorded_interval
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.machine.whole_files import naming

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

FRAMES_PER_STRIP = 7


def plot_run(
    output_dir: str | Path,
    path: str | Path,
    title: str,
    episodes: Mapping[str, NDArray[np.uint8]] | None = None,
) -> None:
    """Plot success, steps to success and reward by temperature of the run in ``output_dir`` as a PNG.

    Args:
        output_dir: the run's folder.
        path: where the PNG goes.
        title: title of the figure.
        episodes: frames ``[T, H, W, 3]`` of episodes by name, shown as film strips above the curves.
    """
    records = read_records(output_dir, METRICS_FILE)
    evaluations = read_records(output_dir, EVALUATIONS_FILE)
    episodes = episodes or {}
    heights = [*(1.75 for _ in episodes), 3.4]
    figure = plt.figure(figsize=(13, sum(heights) + 0.4), layout="constrained")
    *strips, curves = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    length = max((len(frames) for frames in episodes.values()), default=0)
    for strip, (name, frames) in zip(strips, episodes.items(), strict=True):
        _film_strip(strip, name, frames, length)
    axes = curves.subplots(1, 3)
    _success(axes[0], records, evaluations)
    _steps(axes[1], records, evaluations)
    _reward_by_temperature(axes[2], records)
    figure.suptitle(title)
    with naming(Path(path)):
        figure.savefig(path, dpi=110)
    plt.close(figure)


def _film_strip(strip: SubFigure, name: str, frames: NDArray[np.uint8], length: int) -> None:
    """Show frames at the same times for every episode; after its end, an episode's last frame."""
    axes = strip.subplots(1, FRAMES_PER_STRIP)
    for place, step in zip(
        axes, np.linspace(0, length - 1, FRAMES_PER_STRIP).round().astype(int), strict=True
    ):
        place.imshow(frames[min(step, len(frames) - 1)])
        place.set_xticks([])
        place.set_yticks([])
        ended = step >= len(frames) - 1
        place.set_xlabel(f"ended at step {len(frames) - 1}" if ended else f"step {step}", fontsize=8)
    axes[0].set_ylabel(name)


def _success(axes: Axes, records: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> None:
    iterations = [record["iteration"] for record in records]
    axes.plot(iterations, [record["rollout/success_rate"] for record in records], color="tab:gray", alpha=0.7)
    axes.plot([], [], color="tab:gray", label="training rollouts, sampled")
    rates = np.array([record["success_rate"] for record in evaluations])
    intervals = np.array([recorded_interval(record) for record in evaluations])
    axes.errorbar(
        [record["iteration"] for record in evaluations],
        rates,
        yerr=[np.maximum(rates - intervals[:, 0], 0), np.maximum(intervals[:, 1] - rates, 0)],
        fmt="o",
        color="tab:blue",
        capsize=3,
        label="held-out states, 95 % interval",
    )
    axes.set(xlabel="iteration", ylabel="success rate", ylim=(-0.05, 1.05))
    axes.legend(loc="lower right", fontsize=8)


def _steps(axes: Axes, records: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> None:
    rollouts = _known([(record["iteration"], record["rollout/steps_to_success"]) for record in records])
    held_out = _known([(record["iteration"], record["steps_to_success"]) for record in evaluations])
    axes.plot(*rollouts, color="tab:gray", alpha=0.7)
    axes.plot(*held_out, color="tab:blue", marker="o", linestyle="")
    highest = max([*rollouts[1], *held_out[1]], default=1.0)
    axes.set(xlabel="iteration", ylabel="policy steps to success", ylim=(0, 1.1 * highest))


def _known(points: Sequence[tuple[int, float | None]]) -> tuple[list[int], list[float]]:
    """The points that have a value; a point without successes has ``None``."""
    known = [(iteration, steps) for iteration, steps in points if steps is not None]
    return [iteration for iteration, _ in known], [steps for _, steps in known]


def _reward_by_temperature(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    third = max(len(records) // 3, 1)
    for label, part, colour in (
        ("first third", records[:third], "tab:orange"),
        ("last third", records[-third:], "tab:green"),
    ):
        temperatures = np.concatenate([record["rollout/temperatures"] for record in part])
        rewards = np.concatenate([record["rollout/rewards"] for record in part])
        rungs = np.unique(temperatures)
        means = [rewards[temperatures == rung].mean() for rung in rungs]
        axes.plot(rungs, means, marker="o", color=colour, label=label)
    axes.set(xlabel="sampling temperature", ylabel="mean reward", ylim=(0, 1))
    axes.legend(loc="lower right", fontsize=8)
