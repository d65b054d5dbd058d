"""The interface between a vector environment and a simulation engine.

:class:`ReplicaEngine` is what any benchmark's environment asks for; RoboTwin's engine implements it.
Three engines of LIBERO implement :class:`SimulationEngine`: ``upstream`` (unmodified LIBERO environments in
worker processes, the reference), ``native`` (replicas of one compiled task, the fast one) and ``ray``
(native engines in Ray actors, on the nodes of a cluster).
The vector environment handles episodes, rewards, truncation and autoreset. An engine only
resets rows, executes chunks of actions and reports whether the task's goal was reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.ray_options import RayOptions

ACTION_DIM = 7
"""End-effector position delta (3), rotation delta (3), gripper (1); each in [-1, 1]."""

CONTROL_FREQ_HZ = 20
"""LIBERO's control frequency: one policy step is 50 ms, 25 MuJoCo substeps of 2 ms."""

SETTLE_ACTION = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""The action executed while objects settle: hold the pose, open the gripper."""

EngineName: TypeAlias = Literal["native", "upstream", "ray"]

CameraName: TypeAlias = Literal["agentview", "robot0_eye_in_hand"]

Observations: TypeAlias = dict[str, NDArray[Any]]
"""Batched observation arrays, first axis the row; keys and meaning in :mod:`ttrl_env.vector_env`."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """All settings of an engine except the task that each row plays."""

    suite: str
    """LIBERO or LIBERO-PRO suite, e.g. ``"libero_spatial"``."""
    num_rows: int
    """Number of simulations."""
    cameras: tuple[CameraName, ...] = ("agentview",)
    """Cameras rendered into ``<camera>_image`` observations."""
    image_size: int = 256
    """Height and width of every image in pixels."""
    robot_state: bool = False
    """Whether observations also hold the arm's joints, velocities and the end effector's rotation matrix."""
    settle_steps: int = 10
    """Policy steps of :data:`SETTLE_ACTION` before the first observation; no step count includes them."""
    fixture_seed: int = 0
    """Seed of the reset that places the fixtures: 0 is the published protocol (``env.seed(0)``)."""
    num_workers: int | None = None
    """Worker processes (upstream; 0 runs in this process), threads (native) or actors (ray); ``None``: one a
    core (ray: one for each free CPU of the cluster)."""
    group_size: int = 1
    """Consecutive rows that start from one state. An engine may keep them together; results are the same."""
    ray: RayOptions = field(default_factory=RayOptions)
    """Settings of ``ray``; the other engines do not read them."""


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """The outcome of a chunk of actions in each of ``n`` rows."""

    executed_steps: NDArray[np.int64]
    """``[n]`` policy steps executed; fewer than the chunk when a row succeeded or failed in it."""
    success: NDArray[np.bool_]
    """``[n]`` whether the goal held after the last executed step."""
    failure: list[str | None]
    """``[n]`` why a row's simulation diverged (NaN, MuJoCo warning), else ``None``."""


@dataclass(frozen=True, kw_only=True)
class SimState:
    """The physical state of one row, for tests, logging and scripted experts."""

    time: float
    """Simulated seconds since reset, settling included."""
    qpos: NDArray[np.float64]
    """``[nq]`` generalised positions."""
    qvel: NDArray[np.float64]
    """``[nv]`` generalised velocities."""
    body_pos: NDArray[np.float64]
    """``[nbody, 3]`` the model's body positions in their parents' frames: where fixtures stand."""
    body_quat: NDArray[np.float64]
    """``[nbody, 4]`` the model's body orientations (wxyz)."""
    body_xpos: NDArray[np.float64]
    """``[nbody, 3]`` body positions in the world frame, metres."""
    body_xquat: NDArray[np.float64]
    """``[nbody, 4]`` body orientations in the world frame (wxyz)."""
    body_names: tuple[str, ...]
    """``[nbody]`` names, in the order of the arrays above."""


class ReplicaEngine(Protocol):
    """Resets rows and executes chunks of actions, of any benchmark; see the module docstring.

    An engine whose methods may be called from any thread, one at a time, can say so by ``any_thread = True``:
    training then begins the next episodes while the policy is updated.
    """

    observations: Observations
    """Arrays of ``num_rows`` rows, refreshed in place for the rows of each reset or step. Images are uint8,
    everything else is float64."""

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """Put ``rows[k]`` at initial state ``init_state_ids[k]`` of task ``task_ids[k]``, settled.

        Afterwards ``observations`` holds the first observation of these rows. If a reset raises an
        ``Exception``, either every row is unchanged, or later calls on the affected rows raise too.
        """

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        """Execute ``actions[k]`` (``[n, chunk_steps, action_dim]``) on ``rows[k]``, open loop.

        A row stops at success, when its simulation diverges, or after ``max_steps[k]`` policy
        steps (at least 1). Other rows are neither simulated nor rendered.
        ``observations`` then holds the observation after each row's last executed step.
        """

    def close(self) -> None:
        """Free processes, threads and GL contexts; safe to call twice."""


class SimulationEngine(ReplicaEngine, Protocol):
    """An engine of LIBERO's tasks.

    Its ``observations`` are ``<camera>_image`` uint8 ``[num_rows, H, W, 3]`` exactly as LIBERO returns them
    (OpenGL convention: upside down), ``robot0_eef_pos`` ``[num_rows, 3]`` metres, ``robot0_eef_quat``
    ``[num_rows, 4]`` xyzw, ``robot0_gripper_qpos`` ``[num_rows, 2]`` metres, all float64. With
    ``config.robot_state`` also the keys of :data:`~ttrl_env.engines.observations.ROBOT_STATE`. Actions are
    ``[n, chunk_steps, 7]``.
    """

    config: EngineConfig

    def state(self, row: int) -> SimState:
        """The physical state of one row (copies)."""


@runtime_checkable
class RestartsSimulations(Protocol):
    """What an engine has besides :class:`SimulationEngine` if its simulations survive their processes."""

    restarts: NDArray[np.int64]
    """``[num_rows]`` how often each row has been set up again, by repeating its actions, since its reset."""
    total_restarts: int
    """The same of all rows since the engine was made."""
