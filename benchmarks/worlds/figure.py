"""The figure of ``docs/which-libero.md``: tasks in published LIBERO and in another version of MuJoCo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from benchmarks.worlds.play import read
from ttrl_env.libero_version import PUBLISHED_MUJOCO
from ttrl_env.published_scenes import CAMERAS

matplotlib.use("Agg")

import matplotlib.pyplot as plt

TELLING = (("libero_object", 0), ("libero_spatial", 5), ("libero_10", 0))
"""Tasks with visible changes: a texture, a bowl on a ramekin, a bottle that stands or falls."""


def plot(folder: Path, version: str, path: Path, tasks: Sequence[tuple[str, int]] = TELLING) -> bool:
    """Plot tasks in published LIBERO (above) and in another version; returns false if one was not played."""
    rows = [[read(folder / each, *task) for task in tasks] for each in (PUBLISHED_MUJOCO, version)]
    if any(scene is None for scenes in rows for scene in scenes):
        return False
    figure, axes = plt.subplots(2, len(tasks), figsize=(3.2 * len(tasks), 6.6), layout="constrained")
    for row, name, scenes in zip(axes, (f"{PUBLISHED_MUJOCO}, published", version), rows, strict=True):
        row[0].set_ylabel(f"MuJoCo {name}")
        for place, task, scene in zip(row, tasks, scenes, strict=True):
            assert scene is not None
            place.imshow(scene.images[CAMERAS.index("agentview")][::-1])
            place.set(xticks=[], yticks=[], title=f"{task[0]} {task[1]}")
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return True
