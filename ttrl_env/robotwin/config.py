"""The settings of the RoboTwin engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ttrl_env.robotwin.worker.interface import Settings
from ttrl_env.robotwin.worker.layout import layout

RoboTwinCamera: TypeAlias = Literal["head_camera", "left_camera", "right_camera"]


@dataclass(frozen=True, kw_only=True)
class RoboTwinConfig:
    """All settings of the engine except the task that each row plays."""

    num_rows: int
    """Number of simulations."""
    group_size: int = 1
    """Consecutive rows that start from one state."""
    task_config: str = "demo_randomized"
    """The runtime's task configuration: ``"demo_randomized"`` in the recipe."""
    cameras: tuple[RoboTwinCamera, ...] = ("head_camera",)
    """Cameras rendered into ``<camera>_image`` observations."""
    image_height: int = 240
    """Height of every image in pixels."""
    image_width: int = 320
    """Width of every image in pixels."""
    num_workers: int | None = None
    """Worker processes; ``None``: one a core, at most one a row."""
    python: str | None = None
    """Interpreter that has the runtime; ``None``: what ``TTRL_ROBOTWIN_PYTHON`` names."""
    assets: str | None = None
    """Folder of the runtime's assets; ``None``: where the runtime looks itself."""
    reset_timeout_seconds: float = 600.0
    """Time that the reset of one row may take, the first one's compilation of shaders included."""
    step_timeout_seconds: float = 600.0
    """Time that one row's chunk of actions and its images may take."""

    @property
    def suite(self) -> str:
        """Name of the suite whose tasks are played."""
        return "robotwin"

    @property
    def settings(self) -> Settings:
        """What a worker is told of these."""
        return Settings(
            task_config=self.task_config,
            cameras=tuple(self.cameras),
            image_height=self.image_height,
            image_width=self.image_width,
            assets=self.assets,
        )

    def layout(self) -> Iterator[tuple[str, tuple[int, ...], str]]:
        """Key, shape and dtype of every observation array of the engine."""
        return layout(self.num_rows, self.settings)
