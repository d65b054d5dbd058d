"""Comparison of a task in two versions of MuJoCo."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.worlds.play import PlayedScene
from ttrl_env.published_scenes import CAMERAS, angle_deg, distance_m


def compare(one: PlayedScene, other: PlayedScene) -> dict[str, Any]:
    """Differences of ``other`` from ``one``, as a dictionary for JSON.

    - ``moved_most``, ``distance_mm``: the body that moved most, and by how many millimetres.
    - ``angle_deg``: the largest rotation of a body, degrees.
    - For each camera, in grey levels of 255: ``mean_change``, the mean difference over pixels and colours;
      ``mean_difference``, the mean of its absolute value; ``block_difference``, the largest difference of a
      block's mean colour (8 x 8 blocks an image).
    """
    if one.scene.names != other.scene.names:
        raise ValueError(f"other: expected the bodies {one.scene.names}, got {other.scene.names}")
    distance = 1e3 * distance_m(other.scene, one.scene)
    angle = angle_deg(other.scene, one.scene)
    change = other.images.astype(np.int64) - one.images
    blocks = np.abs(other.scene.coarse_images - one.scene.coarse_images)
    body = int(np.argmax(distance))
    return {
        "moved_most": one.scene.names[body].removesuffix("_main"),
        "distance_mm": round(float(distance[body]), 3),
        "angle_deg": round(float(angle.max()), 2),
        **{
            camera: {
                "mean_change": round(float(change[index].mean()), 3),
                "mean_difference": round(float(np.abs(change[index]).mean()), 3),
                "block_difference": round(float(blocks[index].max()), 2),
            }
            for index, camera in enumerate(CAMERAS)
        },
    }
