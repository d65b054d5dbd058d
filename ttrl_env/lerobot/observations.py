"""LIBERO's observations in the form of LeRobot's datasets of LIBERO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import CameraName
from ttrl_env.engines.observations import EEF_MAT
from ttrl_env.rotations import axis_angle

CAMERA_NAMES: Mapping[CameraName, str] = {"agentview": "image", "robot0_eye_in_hand": "image2"}
"""LIBERO's cameras and the names of their images in LeRobot's datasets of LIBERO."""

AGENT_POS_DIM = 8

ROBOT_STATE = {
    "eef": {"pos": "robot0_eef_pos", "quat": "robot0_eef_quat", "mat": EEF_MAT},
    "gripper": {"qpos": "robot0_gripper_qpos", "qvel": "robot0_gripper_qvel"},
    "joints": {"pos": "robot0_joint_pos", "vel": "robot0_joint_vel"},
}
"""LeRobot's names of the robot's state, and ours."""


def rotated(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images ``[T, H, W, 3]`` rotated by 180 degrees, contiguous as ``torch.from_numpy`` wants them."""
    return np.ascontiguousarray(images[:, ::-1, ::-1])


def agent_pos(observations: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The robot's state ``[T, 8]``.

    It holds the end effector's position (3, metres) and rotation vector (3, radians), and the finger joints
    (2, metres). ``observations`` are those of :mod:`ttrl_env.vector_env`, first axis ``T``.
    """
    parts = [
        observations["robot0_eef_pos"],
        axis_angle(observations["robot0_eef_quat"]),
        observations["robot0_gripper_qpos"],
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def robot_state(observations: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The robot's state as LeRobot's own LIBERO environment returns it, float64 and first axis ``T``; copies.

    ``observations`` are an engine's, with ``EngineConfig.robot_state``.
    """
    return {
        part: {name: np.array(observations[key], dtype=np.float64) for name, key in keys.items()}
        for part, keys in ROBOT_STATE.items()
    }
