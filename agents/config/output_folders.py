"""Places to write to that a configuration names: written out in full, and checked before any work begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ttrl_env.agents.config.bounds import Text
from ttrl_env.agents.config.schema_fields import field_types, unwrap
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


@dataclass(frozen=True)
class OutputFile:
    """The bound of a key that names a file to write, in a folder that exists or is possible to make."""

    def check(self, key: str, value: str) -> None:
        """See :class:`ttrl_env.agents.config.bounds.Bound`."""
        Text().check(key, value)
        if os.path.isdir(value):
            raise ConfigError(f"{key}: expected a file, and {value} is a folder")
        Folder().check(key, str(Path(value).parent))


@dataclass(frozen=True, kw_only=True)
class FolderSettings:
    """A configuration of which some fields are bound by one of these: a ``~`` in them is expanded."""

    def __post_init__(self) -> None:
        """Expand ``~`` once, however the configuration is made."""
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            places = [bound for bound in unwrap(hint).bounds if isinstance(bound, (Folder, OutputFile))]
            if isinstance(value, str) and places:
                object.__setattr__(self, name, os.path.expanduser(value))


def _nearest_existing(key: str, folder: str) -> Path:
    """The folder, or its nearest parent that exists."""
    path = Path(folder).absolute()
    try:
        return next(each for each in (path, *path.parents) if each.exists())
    except OSError as error:
        raise ConfigError(f"{key}: {folder!r} cannot be a folder: {error.strerror}") from error
