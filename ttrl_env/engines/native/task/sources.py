"""What tasks are compiled from: the files of LIBERO and robosuite, told apart by what they are.

A version does not tell them apart. LIBERO's configuration may name any folder of assets, and files may
be edited where they are. Code and XML count by their content, meshes and textures (a gigabyte) by their
size and time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.errors import UnsupportedTaskError

_READ = (".py", ".xml", ".json", ".yaml")
"""Endings of files that count by their content."""


def folders() -> dict[str, Path]:
    """The folders that a compiled task is made of, by what is in them."""
    assets = Path(tasks._libero().get_libero_path("assets"))
    return {"assets": Path(os.path.realpath(assets)), **_packages()}


def fingerprint() -> str:
    """Changes with whatever of :func:`folders` changes, but not with where they are."""
    return f"{_fingerprint(folders()['assets'])} {_fingerprint_of_packages()}"


def check_read_from_here(files: Iterable[str]) -> None:
    """Raise :class:`UnsupportedTaskError` unless a task's ``files`` are in one of :func:`folders`.

    LIBERO's modules remember where its assets were when they were imported.
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
    """LIBERO's and robosuite's code; the latter has assets of its own."""
    found = {"libero": Path(str(tasks._libero().__file__)).parent / "envs"}
    robosuite = importlib.util.find_spec("robosuite")
    for place in (robosuite.submodule_search_locations or ()) if robosuite else ():
        found["robosuite"] = Path(place)
    return {name: Path(os.path.realpath(folder)) for name, folder in found.items()}


@functools.cache
def _fingerprint_of_packages() -> str:
    """Once a process: a process goes on with the code that it has imported."""
    return " ".join(_fingerprint(folder) for folder in _packages().values())


def _fingerprint(folder: Path) -> str:
    described = sorted(_files(str(folder), len(str(folder))))
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _files(folder: str, prefix: int) -> Iterator[tuple[str, str]]:
    """Each file below a folder, without the first ``prefix`` characters of its path, and what it is."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            if entry.is_dir():
                yield from _files(entry.path, prefix)
            elif entry.is_file():  # not a link to nowhere
                found = entry.stat()
                if entry.name.endswith(_READ):
                    value = _content(entry.path, found.st_size, found.st_mtime_ns)
                else:
                    value = f"{found.st_size} {int(found.st_mtime)}"  # archives keep no fractions of a second
                yield entry.path[prefix:], value


@functools.cache
def _content(path: str, size: int, mtime_ns: int) -> str:
    """A file's digest; size and time make it one that has been read before."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
