"""How far apart two worlds have a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.worlds.play import PlayedScene
from ttrl_env.published_scenes import CAMERAS, angle_deg, distance_m


def compare(one: PlayedScene, other: PlayedScene) -> dict[str, Any]:
    """A plain dictionary: where the body that moved most is, and what each camera sees.

    ``other`` less ``one``: distances in millimetres, angles in degrees, pictures in grey levels of 255
    (``mean_change`` with its sign, ``mean_difference`` without, both over all pixels and colours;
    ``block_difference`` the largest of an 8 x 8 block's mean colour).
    """
    if one.scene.names != other.scene.names:
        raise ValueError(f"other: expected the bodies {one.scene.names}, got {other.scene.names}")
    distance = 1e3 * distance_m(other.scene, one.scene)
    angle = angle_deg(other.scene, one.scene)
    change = other.images.astype(np.int64) - one.images
    blocks = np.abs(other.scene.pictures - one.scene.pictures)
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
