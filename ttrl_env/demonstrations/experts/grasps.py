"""How to take hold of an object from above: by its body if it fits between the fingers, else by its rim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.motion import wrap
from ttrl_env.demonstrations.experts.scene import Gripper

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
    move: NDArray[np.float64] | None = None,
    num_directions: int = 24,
) -> Grasp:
    """The easiest grasp of an object, given by its points ``[n, 3]``, among other things ``[m, 3]``.

    Least turning and moving of the hand, a narrow hold, nothing in the way of fingers and palm, neither
    here nor where the object will be set down (``move`` ``[3]`` away), and well within reach of the
    robot's ``base`` ``[3]``. Directions are fixed in the world, so the choice stays the same on the way.
    """
    best, least = None, np.inf
    reach = float(np.ptp(points[:, :2], axis=0).max()) / 2 + HAND_SPAN
    centre = points[:, :2].mean(axis=0)
    here = others[np.linalg.norm(others[:, :2] - centre, axis=1) < reach]
    there = np.zeros((0, 3))
    if move is not None:
        there = others[np.linalg.norm(others[:, :2] - centre - move[:2], axis=1) < reach] - move
    for direction in np.arange(num_directions) * 2 * np.pi / num_directions:
        turn = wrap(direction - gripper.yaw, np.pi)  # half a turn swaps the fingers, no more
        grasp, width = _grasp_along(points, direction)
        grasp = grasp._replace(yaw=gripper.yaw + turn)
        cost = width + 0.02 * abs(turn) + 0.05 * float(np.linalg.norm(grasp.pos - gripper.pos))
        cost += REACH_COST * max(float(np.linalg.norm(grasp.pos[:2] - base[:2])) - EASY_REACH, 0.0)
        hits = _hits_fingers(here, grasp) + _hits_palm(here, grasp) + _hits_palm(there, grasp)
        cost += COLLISION_COST * min(hits, 20)
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


def _hits_fingers(others: NDArray[np.float64], grasp: Grasp) -> int:
    """How many points of other things the fingers would hit as they go down and close."""
    along, across, up = _in_hand(others, grasp)
    near, far = FINGER_SPAN
    return int(((along > near) & (along < far) & (across < FINGER_WIDTH) & (up > -FINGERTIP_CLEARANCE)).sum())


def _hits_palm(others: NDArray[np.float64], grasp: Grasp) -> int:
    """How many points of other things the palm would hit."""
    along, across, up = _in_hand(others, grasp)
    return int(((along < HAND_SPAN) & (across < HAND_WIDTH) & (up > HAND_HEIGHT)).sum())


def _in_hand(points: NDArray[np.float64], grasp: Grasp) -> NDArray[np.float64]:
    """``[3, n]`` how far points are off a grasp: along the fingers, across them (both to either side), up."""
    offset = points - grasp.pos
    cosine, sine = np.cos(grasp.yaw), np.sin(grasp.yaw)
    along, across = np.array([[cosine, sine], [-sine, cosine]]) @ offset[:, :2].T
    return np.stack([np.abs(along), np.abs(across), offset[:, 2]])
