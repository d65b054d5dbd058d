"""What a policy keeps of the checkpoint it was loaded from, besides its weights."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.agents.config.choices import Decoding


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """How a checkpoint was trained to act: what its files do not say."""

    decoding: Decoding
    chunk_steps: int
    unnorm_key: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a policy came from, and what its folder held beside the weights."""

    name: str
    """Folder or hub repository of the weights that adapters belong to."""
    files: dict[str, bytes]
    """Small files by name: config, statistics, tokenizer, preprocessor. Written back as they are."""
