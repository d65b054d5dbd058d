"""The observation arrays of LIBERO's engines: keys, shapes, and where they are made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

from ttrl_env.engines import shared_arrays
from ttrl_env.engines.interface import EngineConfig, Observations

PROPRIOCEPTION = {"robot0_eef_pos": (3,), "robot0_eef_quat": (4,), "robot0_gripper_qpos": (2,)}
"""Proprioceptive observation keys and their shapes."""

EEF_MAT = "robot0_eef_mat"
"""The end effector's rotation matrix as the controller last measured it; LIBERO does not observe it."""

ROBOT_STATE = {
    EEF_MAT: (3, 3),
    "robot0_gripper_qvel": (2,),
    "robot0_joint_pos": (7,),
    "robot0_joint_vel": (7,),
}
"""Keys and shapes of what ``EngineConfig.robot_state`` adds: metres, radians, and these a second."""


def proprioception(config: EngineConfig) -> dict[str, tuple[int, ...]]:
    """Keys of an engine's proprioceptive observations, and their shapes."""
    return {**PROPRIOCEPTION, **(ROBOT_STATE if config.robot_state else {})}


def layout(config: EngineConfig) -> Iterator[tuple[str, tuple[int, ...], DTypeLike]]:
    """Key, shape and dtype of every observation array of an engine."""
    for camera in config.cameras:
        yield f"{camera}_image", (config.num_rows, config.image_size, config.image_size, 3), np.uint8
    for key, shape in proprioception(config).items():
        yield key, (config.num_rows, *shape), np.float64


def allocate(config: EngineConfig) -> Observations:
    """Observation arrays private to this process."""
    return shared_arrays.allocate(layout(config))


def create(config: EngineConfig) -> tuple[Observations, int]:
    """Observation arrays in shared memory, and its descriptor for the workers to inherit."""
    return shared_arrays.create(layout(config))


def attach(config: EngineConfig, fd: int) -> Observations:
    """The observation arrays behind a descriptor made by :func:`create`."""
    return shared_arrays.attach(layout(config), fd)


def num_bytes(config: EngineConfig) -> int:
    """Memory of an engine's observation arrays, bytes."""
    return shared_arrays.num_bytes(layout(config))
