"""Plays one episode of an expert and keeps every step for the dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts import Expert
from ttrl_env.engines.interface import ACTION_DIM, SimState
from ttrl_env.engines.native.replica import Replica

MOTION_DIM = 6
"""Number of action entries that get noise. The gripper gets none: the controller uses only its sign."""

ARM_JOINTS = 7

Render = Callable[[Replica], dict[str, NDArray[np.uint8]]]
"""Renders a replica's cameras; returns an image by camera."""


@dataclass(kw_only=True)
class Trajectory:
    """The steps of an episode so far. Every list has one entry a step, taken before the step."""

    success: bool = False
    """Whether the last step reached the goal."""
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    """``[7]`` the expert's actions: the labels."""
    executed_actions: list[NDArray[np.float64]] = field(default_factory=list)
    """``[7]`` the actions that were executed: label plus noise."""
    states: list[NDArray[np.float64]] = field(default_factory=list)
    """``[1 + nq + nv]`` time, qpos, qvel."""
    eef_pos: list[NDArray[np.float64]] = field(default_factory=list)
    """``[3]`` metres, world frame."""
    eef_quat: list[NDArray[np.float64]] = field(default_factory=list)
    """``[4]`` xyzw."""
    gripper_qpos: list[NDArray[np.float64]] = field(default_factory=list)
    """``[2]`` metres."""
    joint_pos: list[NDArray[np.float64]] = field(default_factory=list)
    """``[7]`` the arm's joints, radians."""
    images: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)
    """``[H, W, 3]`` by camera, bottom row first, as LIBERO returns them."""

    def __len__(self) -> int:
        """Number of steps taken."""
        return len(self.actions)


def play(
    replica: Replica,
    expert: Expert,
    *,
    max_steps: int,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    render: Render | None = None,
) -> Trajectory:
    """Run an expert from a replica's present state until success, divergence or ``max_steps``.

    Gaussian noise of standard deviation ``noise`` is added to the executed motion, not to the labels (DART:
    Laskey et al., 2017).
    """
    rng = np.random.default_rng() if rng is None else rng
    trajectory = Trajectory()
    for _ in range(max_steps):
        state, sample = replica.state(), replica.sample
        observation = {
            "robot0_eef_pos": sample.eef_pos.copy(),
            "robot0_eef_quat": sample.eef_quat.copy(),
            "robot0_gripper_qpos": sample.gripper_qpos.copy(),
        }
        action = expert.act(observation, state)
        executed = np.asarray(action, dtype=np.float64)
        executed[:MOTION_DIM] += noise * rng.standard_normal(MOTION_DIM)
        executed = np.clip(executed, -1.0, 1.0)
        _record(trajectory, observation, state, action, executed, render(replica) if render else {})
        _, trajectory.success, failure = replica.step(executed[None])
        if trajectory.success or failure is not None:
            break
    return trajectory


def _record(
    trajectory: Trajectory,
    observation: dict[str, NDArray[np.float64]],
    state: SimState,
    action: NDArray[np.float32],
    executed: NDArray[np.float64],
    images: dict[str, NDArray[np.uint8]],
) -> None:
    assert action.shape == (ACTION_DIM,)
    trajectory.actions.append(action)
    trajectory.executed_actions.append(executed)
    trajectory.states.append(np.concatenate([[state.time], state.qpos, state.qvel]))
    trajectory.joint_pos.append(state.qpos[:ARM_JOINTS])
    trajectory.eef_pos.append(observation["robot0_eef_pos"])
    trajectory.eef_quat.append(observation["robot0_eef_quat"])
    trajectory.gripper_qpos.append(observation["robot0_gripper_qpos"])
    for camera, image in images.items():
        trajectory.images.setdefault(camera, []).append(image)
