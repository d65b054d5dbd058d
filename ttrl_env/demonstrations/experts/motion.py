"""Turns a wanted motion of the hand into an action for LIBERO's controller."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import ACTION_DIM

METRES_PER_UNIT = 0.05
"""Displacement that LIBERO's controller aims for when a translation entry is 1."""

RADIANS_PER_UNIT = 0.5
"""Rotation that it aims for when a rotation entry is 1."""

OPEN_GRIPPER, CLOSE_GRIPPER = -1.0, 1.0

TILT_TOLERANCE = 0.06
"""Orientation error in radians that is not corrected: the robot starts 0.058 from pointing straight down."""


def make_action(
    displacement: NDArray[np.float64], turn: NDArray[np.float64], gripper: float
) -> NDArray[np.float32]:
    """An action ``[7]``: aim for ``displacement`` (metres) and ``turn`` (rotation vector, radians)."""
    action = np.full(ACTION_DIM, gripper)
    action[:3] = saturate(displacement / METRES_PER_UNIT)
    action[3:6] = saturate(soft_threshold(turn, TILT_TOLERANCE) / RADIANS_PER_UNIT)
    return action.astype(np.float32)


def saturate(action: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale an action so that no entry exceeds 1 in magnitude; clipping would change its direction."""
    return action / max(1.0, float(np.abs(action).max()))


def soft_threshold(vector: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Shorten a vector by ``threshold``, or return zero if it is shorter.

    The hand then neither dithers around its target nor jumps when the threshold is crossed.
    """
    length = float(np.linalg.norm(vector))
    return vector * (max(length - threshold, 0.0) / max(length, 1e-12))


def down_rotation(yaw: float) -> NDArray[np.float64]:
    """``[3, 3]`` axes of a hand that points straight down, its fingers at ``yaw`` from the world's x axis."""
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    out = np.array([0.0, 0.0, -1.0])
    return np.stack([along, np.cross(out, along), out], axis=1)


def turn_between(now: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation vector ``[3]`` (radians, world frame) that takes the axes ``now`` to ``wanted``."""
    turn = wanted @ now.T
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine, cosine = float(np.linalg.norm(axis)) / 2, (np.trace(turn) - 1) / 2
    if sine < 1e-9:
        return np.zeros(3)
    return axis / (2 * sine) * np.arctan2(sine, cosine)


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The equivalent angle in [-period / 2, period / 2), radians."""
    return float((angle + period / 2) % period - period / 2)
