"""Arrays that a process shares with its workers, in memory without a name."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Layout: TypeAlias = Iterable[tuple[str, tuple[int, ...], DTypeLike]]
"""Key, shape and dtype of every array."""


class Place(NamedTuple):
    """Where an array lies in the shared memory."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    """Bytes before it."""


def allocate(layout: Layout) -> dict[str, NDArray[Any]]:
    """Arrays private to this process."""
    return {key: np.zeros(shape, dtype) for key, shape, dtype in layout}


def create(layout: Layout) -> tuple[dict[str, NDArray[Any]], int]:
    """Arrays on an unnamed file, and its descriptor for the workers to inherit.

    Without a name, the file disappears with the processes, however they end.
    """
    layout = list(layout)
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("ttrl_env")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, num_bytes(layout))
    return attach(layout, fd), fd


def attach(layout: Layout, fd: int) -> dict[str, NDArray[Any]]:
    """The arrays behind a descriptor made by :func:`create`."""
    layout = list(layout)
    memory = mmap.mmap(fd, num_bytes(layout))
    return {
        place.key: np.frombuffer(memory, place.dtype, math.prod(place.shape), place.offset).reshape(
            place.shape
        )
        for place in places(layout)
    }


def places(layout: Layout) -> Iterator[Place]:
    """Where each array lies: one after the other, each at the beginning of a cache line."""
    offset = 0
    for key, shape, dtype in layout:
        yield Place(key, shape, np.dtype(dtype), offset)
        offset += _padded(math.prod(shape) * np.dtype(dtype).itemsize)


def num_bytes(layout: Layout) -> int:
    """Memory of all arrays, bytes."""
    return sum(_padded(math.prod(shape) * np.dtype(dtype).itemsize) for _, shape, dtype in layout)


def _padded(num_bytes: int) -> int:
    """``num_bytes`` rounded up to whole cache lines."""
    return -(-num_bytes // 64) * 64
