"""A checkpoint's JSON files as data; errors about their values name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ttrl_env.agents.common.checkpoint_files import read_own_json, unexpected_value
from ttrl_env.errors import CheckpointError

_DOWNLOAD = "a published OpenVLA folder does. Download the whole repository"

_WHERE_IT_IS = {
    "preprocessor_config.json": (
        "checkpoints that SimpleVLA-RL saves lack it, and dataset_statistics.json. Copy both from the "
        "checkpoint that training started from"
    ),
}
"""Advice for the error about a missing file."""


class JsonFile:
    """A JSON file of a checkpoint's folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / name
        if not self.file.exists():
            raise CheckpointError(f"policy.path: {folder} has no {name}; {_WHERE_IT_IS.get(name, _DOWNLOAD)}")
        self.content = read_own_json(folder, name)

    def get(self, key: str, kind: type) -> Any:
        """The value of ``key`` if it is a ``kind``, else raise."""
        value = self.content.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"a {kind.__name__}", value)
        return value

    def error(self, key: str, expected: str, got: Any) -> CheckpointError:
        """The error about a value of this file."""
        return unexpected_value(self.file, key, expected, got)
