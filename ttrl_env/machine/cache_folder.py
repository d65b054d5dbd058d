"""The user's cache folder: compiled tasks, and what RoboTwin needs beside them."""

from __future__ import annotations

import os
from pathlib import Path

from ttrl_env.errors import NoCacheError


def cache_folder() -> Path:
    """``TTRL_CACHE`` if it is set, else ``ttrl-env`` in the user's cache folder.

    Raises :class:`NoCacheError` if there is neither, for a user without a home directory.
    """
    try:
        if os.environ.get("TTRL_CACHE"):
            return Path(os.path.expanduser(os.environ["TTRL_CACHE"]))
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttrl-env"
    except RuntimeError as error:  # from Path.home(): no HOME, and the user is not in the password database
        raise NoCacheError(f"there is no cache folder ({error}); set TTRL_CACHE to one") from error
