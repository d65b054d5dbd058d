"""Chooses grasps from above: around the whole object if it fits between the fingers, otherwise by its rim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.motion import wrap
from ttrl_env.demonstrations.experts.scene import Gripper

WIDEST = 0.072
"""Widest object to grasp whole, metres; the open fingers are 0.08 apart."""

PALM_CLEARANCE = 0.020
"""How far an object may extend above the point between the fingers, metres; the palm is 0.026 above it."""

FINGERTIP_CLEARANCE = 0.014
"""Lowest height of that point above the object's support, metres; the fingertips reach 0.012 below it."""

RIM_DEPTH = 0.012
"""Depth of the point between the fingers below the rim's upper edge, metres."""

RIM_INSET = 0.005
"""Distance of that point inside the outline, metres: the middle of the wall of LIBERO's bowls."""

RIM_COST = 0.15
"""Width that a rim grasp is charged, metres: so high that it is chosen only when no other grasp fits."""

COLLISION_COST = 0.01
"""Cost of each obstacle point in the way, in metres of width."""

EASY_REACH, REACH_COST = 0.65, 0.5
"""Distance from the robot's base, metres, beyond which a grasp costs more, and the cost of each metre beyond.
The arm reaches its limit at 0.75."""

FINGER_SPAN, FINGER_WIDTH = (0.008, 0.070), 0.012
"""Range that each finger sweeps along their line as it closes, and half its width across, metres."""

HAND_SPAN, HAND_WIDTH, HAND_HEIGHT = 0.107, 0.033, 0.026
"""Half the palm's length along the fingers' line, half its width across, and how far it is above the point
between the fingers, metres."""


class Grasp(NamedTuple):
    """Position and direction of the hand when it closes."""

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
    """The grasp of an object with the lowest cost.

    The cost grows with the width of the grasp and with how far the hand must turn and move. It also grows
    with obstacles in the way of fingers and palm, and with the distance from the robot's base. Candidate
    directions are fixed in the world frame, so the choice stays the same while the hand approaches.

    Args:
        points: the object's outline ``[n, 3]``.
        gripper: where the hand is now.
        others: points ``[m, 3]`` of all obstacles.
        base: position ``[3]`` of the robot's base.
        move: ``[3]`` from here to where the object will be set down; the palm must be free there too.
            ``None`` if that place does not matter.
        num_directions: how many directions of the fingers are compared.
    """
    best, least = None, np.inf
    reach = float(np.ptp(points[:, :2], axis=0).max()) / 2 + HAND_SPAN
    centre = points[:, :2].mean(axis=0)
    here = others[np.linalg.norm(others[:, :2] - centre, axis=1) < reach]
    there = np.zeros((0, 3))
    if move is not None:
        there = others[np.linalg.norm(others[:, :2] - centre - move[:2], axis=1) < reach] - move
    for direction in np.arange(num_directions) * 2 * np.pi / num_directions:
        turn = wrap(direction - gripper.yaw, np.pi)  # half a turn only swaps the two fingers
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
    """The grasp with the fingers in one direction, and its width in metres as the cost counts it."""
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
    """``[3, n]`` offsets of points from a grasp: along and across the fingers (absolute), and up (signed)."""
    offset = points - grasp.pos
    cosine, sine = np.cos(grasp.yaw), np.sin(grasp.yaw)
    along, across = np.array([[cosine, sine], [-sine, cosine]]) @ offset[:, :2].T
    return np.stack([np.abs(along), np.abs(across), offset[:, 2]])
