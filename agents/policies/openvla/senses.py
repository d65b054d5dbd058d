"""What OpenVLA-OFT sees of a world besides the instruction: images of some cameras, and the robot's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.policies.cameras import WORLDS, PolicyCamera, World
from ttrl_env.agents.policies.openvla.statistics import STATE_DIMS
from ttrl_env.errors import CheckpointError

NUM_IMAGES: Mapping[World, tuple[int, ...]] = {"LIBERO": (1, 2), "RoboTwin": (1, 3)}
"""How many images checkpoints are trained on: the scene alone, or every camera."""


def cameras_of(world: World, num_images: int) -> tuple[PolicyCamera, ...]:
    """The first ``num_images`` cameras of a world, in the order in which checkpoints see them.

    Raises:
        CheckpointError: no checkpoint is trained on so many.
    """
    known = NUM_IMAGES[world]
    if num_images not in known:
        raise CheckpointError(
            f"policy.openvla.num_images: expected {' or '.join(map(str, known))} of {world}'s cameras "
            f"({', '.join(WORLDS[world])}), got {num_images}"
        )
    return WORLDS[world][:num_images]


def robot_state(observations: Mapping[str, NDArray[Any]], world: World) -> NDArray[np.float64]:
    """``[rows, state_dim]``, not normalised.

    Of LIBERO the end effector's position (3, metres), orientation as axis times angle (3, radians) and the
    fingers' positions (2, metres); of RoboTwin the joints of both arms (``joint_state``).

    Raises:
        ValueError: ``observations`` lack a part, or it has another shape.
    """
    keys = {
        "LIBERO": ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),
        "RoboTwin": ("joint_state",),
    }[world]
    if missing := [key for key in keys if key not in observations]:
        raise ValueError(f"observations: proprioception needs {missing}, got {sorted(observations)}")
    parts = [np.asarray(observations[key], dtype=np.float64) for key in keys]
    if world == "LIBERO":
        parts[1] = axis_angle(parts[1])
    state = np.concatenate(parts, axis=1)
    if state.shape[1] != STATE_DIMS[world]:
        raise ValueError(
            f"observations: expected a state of {STATE_DIMS[world]} numbers in {', '.join(keys)}, got "
            f"{state.shape[1]}"
        )
    return state


def axis_angle(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation vectors ``[rows, 3]`` (radians) of unit quaternions ``[rows, 4]`` (xyzw).

    As robosuite has it: a quaternion and its opposite give different vectors, of which the longer one has an
    angle above pi.
    """
    w = np.clip(quaternions[:, 3:], -1.0, 1.0)
    sine = np.sqrt(1.0 - w * w)
    turned = sine > 0.0
    scale = np.where(turned, 2.0 * np.arccos(w) / np.where(turned, sine, 1.0), 0.0)
    return quaternions[:, :3] * scale
