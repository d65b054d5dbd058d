"""Getting the hand, or what it carries, to a place without bumping into things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAIN = 2.0
"""How many times the remaining way is aimed for: the controller pulls like a spring, less the closer."""

AIM, CLEARANCE = 0.02, 0.006
"""How far above obstacles it aims to pass, and how far above it does pass: the arm sags under loads."""


def travel(
    here: NDArray[np.float64],
    goal: NDArray[np.float64],
    obstacles: NDArray[np.float64],
    *,
    radius: float,
    below: float,
    funnel: float = 1.5,
    arrival: float = 0.012,
) -> NDArray[np.float64]:
    """The displacement ``[3]`` to aim for from ``here`` ``[3]`` on the way to ``goal`` ``[3]``, metres.

    What is in the way is passed above: the hand climbs as long as it is too low, and advances only as far
    as it can before it would hit. Near the goal it sinks in a funnel and goes straight down at last.

    Args:
        here: the point between the fingers.
        goal: where that point should be.
        obstacles: points ``[n, 3]`` of everything that must not be hit.
        radius: half the width of what moves.
        below: how far it reaches below ``here``.
        funnel: how steeply it sinks towards the goal.
        arrival: from this horizontal distance on it goes straight down.
    """
    way = goal[:2] - here[:2]
    distance = float(np.linalg.norm(way))
    direction = way / max(distance, 1e-9)
    offset = obstacles[:, :2] - here[:2]
    ahead = offset @ direction
    aside = np.abs(offset @ np.array([-direction[1], direction[0]]))
    blocking = (aside < radius) & (ahead > -radius) & (ahead < distance) if distance > arrival else aside < 0
    tops = obstacles[blocking, 2] + below
    short = np.maximum(tops + CLEARANCE - here[2], 0.0)
    room = np.where(short > 0.0, ahead[blocking] - radius - short, np.inf)
    advance = float(np.clip(room.min(initial=np.inf), 0.0, GAIN * distance))
    height = min(here[2], goal[2] + funnel * max(distance - arrival, 0.0))
    height = max(height, goal[2], float(tops.max(initial=-np.inf)) + AIM)
    return np.array([*(direction * advance), GAIN * (height - here[2])])
