"""The files of LIBERO and robosuite from which tasks are compiled, and a fingerprint of them.

A version number is not enough: LIBERO's configuration may name any folder of assets, and files may be edited
in place. Code and XML are identified by their content. Meshes and textures, a gigabyte, are identified by
size and modification time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ttrl_env import libero_tasks
from ttrl_env.errors import UnsupportedTaskError

_READ = (".py", ".xml", ".json", ".yaml")
"""Suffixes of files that are identified by their content."""


def folders() -> dict[str, Path]:
    """The folders with files that tasks are compiled from, keyed by ``assets`` or the package's name."""
    return {"assets": Path(os.path.realpath(libero_tasks.folder_of("assets"))), **_packages()}


def fingerprint() -> str:
    """A digest of the files in :func:`folders`; it does not depend on the folders' paths."""
    return f"{_fingerprint(folders()['assets'])} {_fingerprint_of_packages()}"


def check_read_from_here(files: Iterable[str]) -> None:
    """Raise :class:`UnsupportedTaskError` unless a task's ``files`` are in one of :func:`folders`.

    They may be elsewhere if the configured assets folder changed after LIBERO was imported.
    """
    allowed = folders()
    for file in files:
        place = Path(os.path.realpath(file))
        if not any(place.is_relative_to(folder) for folder in allowed.values()):
            raise UnsupportedTaskError(
                f"the task is made of {place}, which is not in LIBERO's assets ({allowed['assets']}) or "
                f"packages. If LIBERO_CONFIG_PATH or its config.yaml has changed since LIBERO was imported, "
                f"start a new process; files of your own belong into the assets"
            )


@functools.cache
def _packages() -> dict[str, Path]:
    """The folders of LIBERO's and robosuite's code; robosuite's also contains assets."""
    found = {"libero": Path(str(libero_tasks._libero().__file__)).parent / "envs"}
    robosuite = importlib.util.find_spec("robosuite")
    for place in (robosuite.submodule_search_locations or ()) if robosuite else ():
        found["robosuite"] = Path(place)
    return {name: Path(os.path.realpath(folder)) for name, folder in found.items()}


@functools.cache
def _fingerprint_of_packages() -> str:
    """Digest of the packages, computed once a process: code that is imported does not change afterwards."""
    return " ".join(_fingerprint(folder) for folder in _packages().values())


def _fingerprint(folder: Path) -> str:
    described = sorted(_files(str(folder), len(str(folder))))
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _files(folder: str, prefix: int) -> Iterator[tuple[str, str]]:
    """Each file below a folder: its path without the first ``prefix`` characters, and what identifies it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            if entry.is_dir():
                yield from _files(entry.path, prefix)
            elif entry.is_file():  # skips broken links
                found = entry.stat()
                if entry.name.endswith(_READ):
                    value = _content(entry.path, found.st_size, found.st_mtime_ns)
                else:
                    value = f"{found.st_size} {int(found.st_mtime)}"  # archives store whole seconds
                yield entry.path[prefix:], value


@functools.cache
def _content(path: str, size: int, mtime_ns: int) -> str:
    """A file's digest. Cached: a file of the same size and time is not read again."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
