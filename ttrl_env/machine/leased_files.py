"""Large files mapped without a copy, where no process can change them under the mapping.

A mapped file that somebody truncates ends the process that reads it. Linux grants leases on files: whoever
would open a leased file for writing, or truncate it, waits until the lease is given up (45 seconds at most).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_file(path: Path, length: int) -> NDArray[np.uint8] | None:
    """A file's content, read-only, or ``None`` if it has another length.

    It is mapped under a lease, which ends when the array is freed, or copied where there is no lease. Raises
    ``OSError`` if it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        leased = _lease(file)
        if os.fstat(file.fileno()).st_size != length:
            return None
        return _map(file, length) if leased and length else _copy(file, length)


def _lease(file: FileIO) -> bool:
    """Have writers wait until a file's descriptors and mappings are gone; returns whether they do.

    There is no lease outside Linux, on another user's file, on one that is open for writing, and on file
    systems that do not know who writes.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # what tells of a waiting writer; ignored by default
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


def _map(file: FileIO, length: int) -> NDArray[np.uint8]:
    """A file's own pages: fresh memory for a copy costs several times what reading it does."""
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
    pages = mmap.mmap(file.fileno(), length, flags=flags, prot=mmap.PROT_READ)
    return np.frombuffer(pages, dtype=np.uint8)


def _copy(file: FileIO, length: int) -> NDArray[np.uint8] | None:
    """A file's content in memory, or ``None`` if it ends early."""
    content = np.empty(length, dtype=np.uint8)
    if file.readinto(content.data) != length:
        return None
    content.setflags(write=False)
    return content
