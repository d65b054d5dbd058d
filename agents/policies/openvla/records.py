"""Facts about a policy's checkpoint besides its weights: its action space and its source."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.agents.config.choices import Decoding


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """Settings of a checkpoint's actions and inputs that published files do not contain."""

    decoding: Decoding
    chunk_steps: int
    unnorm_key: str
    num_images: int = 1
    """Cameras whose images it sees, the world's first ones."""
    use_proprio: bool = False
    """Whether it sees the robot's state."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of a policy, and the small files of its folder."""

    name: str
    """Folder or hub repository of the weights, which adapters name as their base."""
    files: dict[str, bytes]
    """Small files by name: config, statistics, tokenizer, preprocessor. Saving writes them back unchanged."""
