"""The keys of ``ttrl preview``: those of ``ttrl train``, and what the preview adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ttrl_env.agents.config.bounds import at_least
from ttrl_env.agents.config.output_folders import Folder
from ttrl_env.agents.config.schema import TrainConfig


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How much is played before training."""

    states_per_task: Annotated[int, at_least(1)] = 8
    """Training states of each task that are played, env.n_samples episodes from each; at most all of them."""


@dataclass(frozen=True, kw_only=True)
class PreviewConfig(TrainConfig):
    """A look at a run before it is started (`ttrl preview`): the keys of `ttrl train`, and two more."""

    output: Annotated[str | None, Folder()] = None
    """Folder of the preview's report, from which an interrupted preview goes on; null: only printed."""
    preview: SampleConfig = field(default_factory=SampleConfig)
