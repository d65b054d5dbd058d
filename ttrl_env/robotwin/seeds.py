"""Which seed an initial state is: seeds whose scene does not come to rest are passed over, and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ttrl_env.errors import NoCacheError
from ttrl_env.machine.cache_folder import cache_folder

FIRST_SEED = 100_000
"""Seed of initial state 0. The runtime's demonstrations come from seeds below, its evaluation starts here."""

STRIDE = 100
"""Distance of the seeds of one state: the number of states, so that no two states share a seed."""

MAX_TRIES = 20
"""Seeds of one state that are tried before its reset is an error."""


def candidate_seeds(init_state_id: int) -> range:
    """The seeds that initial state ``init_state_id`` may be: the first stable one is.

    >>> candidate_seeds(7)[:3]
    range(100007, 100307, 100)
    """
    first = FIRST_SEED + init_state_id
    return range(first, first + MAX_TRIES * STRIDE, STRIDE)


class UnstableSeeds:
    """The seeds found unstable, in a file of the cache folder that all processes add to.

    Without a cache folder, or on a disk that cannot be written, they are remembered by this object alone.
    """

    def __init__(self, conditions: Mapping[str, str]) -> None:
        """Read what is remembered for ``conditions``: versions, assets, whatever may change the outcome."""
        self._file = _file(conditions)
        self._known: set[tuple[str, int]] = set(_read(self._file))

    def first_stable(self, task: str, init_state_id: int) -> int | None:
        """The first seed of a state that is not known as unstable; ``None``: all are."""
        seeds = candidate_seeds(init_state_id)
        return next((seed for seed in seeds if (task, seed) not in self._known), None)

    @property
    def where(self) -> str:
        """Where they are remembered, for an error message."""
        if self._file is None:
            return "Unstable seeds are remembered by this process alone"
        return f"Unstable seeds are remembered in {self._file}"

    def add(self, task: str, seed: int) -> None:
        """Remember a seed."""
        if (task, seed) in self._known:
            return
        self._known.add((task, seed))
        if self._file is not None:
            with contextlib.suppress(OSError):  # read-only or full: it is found out anew by the next process
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("ab", buffering=0) as file:  # one write: processes' lines do not mix
                    file.write(f"{task} {seed}\n".encode())


def _file(conditions: Mapping[str, str]) -> Path | None:
    try:
        folder = cache_folder()
    except NoCacheError:
        return None
    digest = hashlib.sha256(json.dumps(dict(conditions), sort_keys=True).encode()).hexdigest()
    return folder / "robotwin" / f"unstable-seeds-{digest[:16]}.txt"


def _read(file: Path | None) -> Iterator[tuple[str, int]]:
    """The remembered seeds; lines that a power failure has spoilt are left out."""
    if file is None or not os.access(file, os.R_OK):
        return
    for line in file.read_text(errors="replace").splitlines():
        task, _, seed = line.partition(" ")
        if seed.isdecimal():
            yield task, int(seed)
