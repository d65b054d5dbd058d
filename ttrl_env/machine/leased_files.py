"""Memory-mapping of large files, protected against changes by other processes.

If a mapped file is truncated, the process that reads it is killed. A lease on the file prevents that: Linux
makes a process that opens a leased file for writing, or truncates it, wait until the lease ends. The wait is
45 seconds at most.
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

    The file is mapped under a lease, which ends when the array is freed. Without a lease it is copied. Raises
    ``OSError`` if it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        leased = _lease(file)
        if os.fstat(file.fileno()).st_size != length:
            return None
        return _map(file, length) if leased and length else _copy(file, length)


def _lease(file: FileIO) -> bool:
    """Take a lease on a file, until its descriptors and mappings are closed; returns whether it is granted.

    Leases exist on Linux only. They are refused for another user's file, for a file that is open for writing,
    and on some network file systems.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # sent if a writer waits; ignored by default
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


def _map(file: FileIO, length: int) -> NDArray[np.uint8]:
    """Map a file; a copy would take several times as long, because its memory must be allocated."""
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
