"""How to take hold of an object from above: by its body if it fits between the fingers, else by its rim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.experts.motion import wrap
from ttrl_env.agents.experts.scene import Gripper

WIDEST = 0.072
"""Widest thing to pinch, metres; the open fingers are 0.08 apart."""

PALM_CLEARANCE = 0.020
"""How far an object may reach above the point between the fingers; the palm is 0.026 above it."""

FINGERTIP_CLEARANCE = 0.014
"""How high that point stays above what the object stands on; the fingertips reach 0.012 below it."""

RIM_DEPTH = 0.012
"""How far below the rim's edge the point between the fingers goes."""

RIM_INSET = 0.005
"""How far inside the outline that point is: the middle of the wall of LIBERO's bowls."""

RIM_COST = 0.15
"""A rim counts as this wide: it is what remains if nothing else does."""

COLLISION_COST = 0.01
"""What each point in the way adds, in metres of width."""

EASY_REACH, REACH_COST = 0.65, 0.5
"""Grasps further than this from the robot's base, metres, cost this much more for each metre: the arm
stretches to its limit 0.75 away."""

FINGER_SPAN, FINGER_WIDTH = (0.008, 0.070), 0.012
"""What the fingers sweep along their line as they close, to either side, and half their width across it."""

HAND_SPAN, HAND_WIDTH, HAND_HEIGHT = 0.107, 0.033, 0.026
"""Half the hand's length along the fingers' line, half its width across, and how far above it begins."""


class Grasp(NamedTuple):
    """Where the hand closes."""

    pos: NDArray[np.float64]
    """``[3]`` the point between the fingers, metres, world frame."""
    yaw: float
    """Direction of the line through the fingers, radians from the world's x axis."""


def choose_grasp(
    points: NDArray[np.float64],
    gripper: Gripper,
    others: NDArray[np.float64],
    base: NDArray[np.float64],
    num_directions: int = 24,
) -> Grasp:
    """The easiest grasp of an object, given by its points ``[n, 3]``, among other things ``[m, 3]``.

    Least turning and moving of the hand, a narrow hold, nothing in the way of fingers and palm, and well
    within reach of the robot's ``base`` ``[3]``. Directions are fixed in the world, so the choice stays
    the same on the way to it.
    """
    best, least = None, np.inf
    reach = np.linalg.norm(others[:, :2] - points[:, :2].mean(axis=0), axis=1)
    others = others[reach < float(np.ptp(points[:, :2], axis=0).max()) / 2 + HAND_SPAN]
    for direction in np.arange(num_directions) * 2 * np.pi / num_directions:
        turn = wrap(direction - gripper.yaw, np.pi)  # half a turn swaps the fingers, no more
        grasp, width = _grasp_along(points, direction)
        grasp = grasp._replace(yaw=gripper.yaw + turn)
        cost = width + 0.02 * abs(turn) + 0.05 * float(np.linalg.norm(grasp.pos - gripper.pos))
        cost += REACH_COST * max(float(np.linalg.norm(grasp.pos[:2] - base[:2])) - EASY_REACH, 0.0)
        cost += COLLISION_COST * min(_in_the_way(others, grasp), 20)
        if cost < least - 1e-4:
            best, least = grasp, cost
    assert best is not None
    return best


def _grasp_along(points: NDArray[np.float64], yaw: float) -> tuple[Grasp, float]:
    """The grasp with the fingers in one direction, and the width between them that it takes."""
    axes = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    low, high = points[:, 2].min(), points[:, 2].max()
    outline = points[:, :2] @ axes.T
    width = float(np.ptp(outline[:, 0]))
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    depth = PALM_CLEARANCE
    if width > WIDEST:
        middle[0] = outline[:, 0].max() - RIM_INSET
        width, depth = RIM_COST, RIM_DEPTH
    height = max(high - depth, low + FINGERTIP_CLEARANCE)
    return Grasp(np.array([*(middle @ axes), height]), yaw), width


def _in_the_way(others: NDArray[np.float64], grasp: Grasp) -> int:
    """How many points of other things fingers or palm would hit."""
    offset = others - grasp.pos
    axes = np.array([[np.cos(grasp.yaw), np.sin(grasp.yaw)], [-np.sin(grasp.yaw), np.cos(grasp.yaw)]])
    along, across = np.abs(offset[:, :2] @ axes.T).T
    height = offset[:, 2]
    near, far = FINGER_SPAN
    fingers = (along > near) & (along < far) & (across < FINGER_WIDTH) & (height > -FINGERTIP_CLEARANCE)
    palm = (along < HAND_SPAN) & (across < HAND_WIDTH) & (height > HAND_HEIGHT)
    return int((fingers | palm).sum())
