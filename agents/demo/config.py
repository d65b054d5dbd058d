"""The configuration of ``ttrl demo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ttrl_env.agents.config.bounds import Seed, at_least
from ttrl_env.agents.config.output_folders import Folder, FolderSettings


@dataclass(frozen=True, kw_only=True)
class DemoConfig(FolderSettings):
    """The ten-minute demonstration (`ttrl demo`)."""

    output_dir: Annotated[str, Folder()] = "runs/demo"
    """Folder of the report, the video, the curve and the run; an interrupted demo goes on there."""
    iterations: Annotated[int, at_least(1)] = 10
    """Rollout and update, this many times."""
    n_samples: Annotated[int, at_least(1)] = 8
    """Replicas of each group."""
    seed: Seed = 0
    """Seed of the run."""
