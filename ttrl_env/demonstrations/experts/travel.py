"""Moves the hand, with or without an object in it, to a place without collisions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAIN = 2.0
"""Factor on the remaining way: the controller pulls like a spring, so its force fades close to the target."""

AIM, CLEARANCE = 0.02, 0.006
"""Height above obstacles to aim for, and the height required to pass, metres: the arm sags under a load."""


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

    The hand passes above obstacles: it climbs while it is too low, and advances only as far as it can without
    a collision. Near the goal it descends along a cone, and the last part straight down.

    Args:
        here: the point between the fingers.
        goal: where that point should be.
        obstacles: points ``[n, 3]`` of everything to avoid.
        radius: half the width of the hand or of the object that it carries.
        below: how far the hand or that object extends below ``here``.
        funnel: slope of the cone: height for each metre of horizontal distance.
        arrival: horizontal distance below which the hand moves straight down.
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
