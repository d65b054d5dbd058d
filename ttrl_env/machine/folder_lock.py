"""A lock that lets only one process at a time write to a folder."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ttrl_env.errors import ConfigError

LOCK_FILE = ".lock"


@contextmanager
def folder_lock(folder: str | Path, argument: str, name: str = LOCK_FILE) -> Iterator[None]:
    """Lock ``folder`` while the context is open; the folder is made if it does not exist.

    The lock ends with the process, however that ends; the file ``name`` stays.

    Raises:
        ConfigError: another process holds the lock, or the folder is not writable; names ``argument``.
    """
    folder = Path(folder)
    with _writing(argument):
        folder.mkdir(parents=True, exist_ok=True)
        # do not follow a link, and do not wait for the other end of a pipe
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(folder / name, flags, 0o666), "r+b", buffering=0)
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"{argument}: {folder / name} is no regular file; remove it")
        lock_file(file, folder, argument)
        yield


def require_writable(folder: Path, argument: str) -> None:
    """Make a folder; raise :class:`ConfigError`, naming ``argument``, unless files can be written there."""
    with _writing(argument):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def _writing(argument: str) -> Iterator[None]:
    """Turn an ``OSError`` from making a folder or a file in it into :class:`ConfigError`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{argument}: expected a folder that can be written to: {error}") from error


def lock_file(file: IO[bytes] | IO[str], folder: Path, argument: str) -> None:
    """Lock an open file until it is closed; error texts name ``folder``."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"{argument}: another process is writing to {folder}; wait for its end or choose another folder"
        ) from error
    except OSError as error:  # some network file systems have no locks
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}): make sure that no other run writes there",
            RuntimeWarning,
            stacklevel=2,
        )
