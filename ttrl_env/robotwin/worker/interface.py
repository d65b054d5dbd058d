"""What the worker needs of a simulation: one row that is reset, stepped, observed and read.

The runtime's simulation is made by ``simulation.RoboTwinSimulation(settings)``, one for each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Settings:
    """What every row of an environment has in common."""

    task_config: str = "demo_randomized"
    """Name of the runtime's task configuration: what is randomised besides the objects."""
    cameras: tuple[str, ...] = ("head_camera",)
    """Cameras that are rendered, in the runtime's names."""
    image_height: int = 240
    """Height of every image in pixels."""
    image_width: int = 320
    """Width of every image in pixels."""
    assets: str | None = None
    """Folder of the runtime's assets; ``None``: where the runtime looks itself."""


@dataclass(frozen=True)
class Start:
    """The beginning of an episode."""

    instruction: str
    """What the robot is told; equal for equal task and seed."""
    digest: str
    """A digest of joint positions and object poses, every bit of them: equal starts have equal digests."""


@dataclass(frozen=True)
class Outcome:
    """What a chunk of actions has led to."""

    executed_steps: int
    """Actions executed; fewer than asked for when the row succeeded or failed on the way."""
    success: bool
    """Whether the task's goal held after the last executed action."""
    failure: str | None = None
    """Why the simulation cannot go on (NaN, the runtime's own step limit), else ``None``."""


@dataclass(frozen=True)
class State:
    """The physical state of a row, for tests and logging."""

    joint_names: list[str]
    """``[n]`` joints of both arms and grippers."""
    qpos: list[float]
    """``[n]`` joint positions, radians or metres."""
    object_poses: dict[str, list[float]]
    """Position (metres) and orientation (wxyz) of every object: seven numbers by name."""


class UnstableSeedError(Exception):
    """A seed whose objects do not come to rest, or that the runtime refuses: another seed has to be tried."""


class Simulation(Protocol):
    """One row. A simulation is made at the row's first reset and may play any task after another."""

    def reset(self, task: str, seed: int) -> Start:
        """Begin an episode of the runtime's task ``task``; raise :class:`UnstableSeedError` if it cannot."""

    def step(self, actions: NDArray[np.float64], max_steps: int) -> Outcome:
        """Execute ``actions`` (``[chunk, 14]``), at most ``max_steps`` of them (at least 1).

        It stops after the action that reaches the goal. Nothing is rendered.
        """

    def observe(self) -> dict[str, NDArray[Any]]:
        """The observation now, by the keys of :func:`.layout.layout`: images are rendered only here."""

    def state(self) -> State:
        """The state now."""

    def close(self) -> None:
        """Free what the row holds."""
