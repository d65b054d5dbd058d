"""Checks before any work begins that results can be written to the configured folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ttrl_env.agents.config.bounds import Text
from ttrl_env.errors import ConfigError


@dataclass(frozen=True)
class Folder:
    """The bound of a key that names a folder, which must exist or be possible to make."""

    def check(self, key: str, value: str) -> None:
        """See :class:`ttrl_env.agents.config.bounds.Bound`."""
        Text().check(key, value)
        existing = _nearest_existing(key, value)
        if not existing.is_dir():
            raise ConfigError(
                f"{key}: expected a folder, but {existing} is none; choose another, got {value!r}"
            )


def _nearest_existing(key: str, folder: str) -> Path:
    """The folder, or its nearest parent that exists."""
    path = Path(os.path.expanduser(folder)).absolute()
    try:
        return next(each for each in (path, *path.parents) if each.exists())
    except OSError as error:
        raise ConfigError(f"{key}: {folder!r} cannot be a folder: {error.strerror}") from error
