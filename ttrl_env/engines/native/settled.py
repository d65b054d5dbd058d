"""LIBERO's initial states after settling, stored beside the task's bundle: a reset to one is a copy.

LIBERO ships fifty initial states for each task, in which objects hang a little above the table. Ten control
steps settle them, which takes 25 ms. They are settled once, when a task is first opened. The resulting
snapshots (:class:`~ttrl_env.engines.native.replica.Snapshot`) are stored; they take two megabytes a task.

The last bits of a settled state depend on the machine that computed it. So the file's name changes with the
processor, the linear algebra library and the code of the control step. It also changes with the initial
states and the bundle.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import mujoco
import numba
import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from ttrl_env.engines.compiled import SOURCES_DIGEST
from ttrl_env.engines.native.records import Sample
from ttrl_env.engines.native.replica import Replica, Snapshot
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.files import keeping, read_archive, remove_abandoned, write_archive

SETTLE_STEPS = 10
"""Number of settling steps in the published protocol; only states settled for this long are stored."""


class SettledStates:
    """Snapshots of a task's initial states after settling."""

    def __init__(self, init_states: NDArray[np.float64], values: dict[str, NDArray[Any]]) -> None:
        """Index the snapshots by initial state.

        Args:
            init_states: ``[n, 1 + nq + nv]``.
            values: the parts of the snapshots, by name; each array has ``n`` rows.
        """
        self._row = {state.tobytes(): row for row, state in enumerate(init_states)}
        self._values = values

    def find(self, init_state: NDArray[np.float64]) -> Snapshot | None:
        """The snapshot settled from ``init_state``, or ``None`` if there is none."""
        row = self._row.get(init_state.tobytes())
        return None if row is None else _unpack(self._values, row)


def load_settled(place: Path, bundle: TaskBundle, init_states: NDArray[np.float64]) -> SettledStates:
    """Read a bundle's settled states from the folder ``place``; settle and store them first if missing.

    Settling takes about a second.
    """
    path = place / f"settled-{_key(bundle, init_states)}.npz"
    values = read_archive(path)
    if values is None:
        values = _settle(bundle, init_states)
        with keeping(place):
            place.mkdir(parents=True, exist_ok=True)
            remove_abandoned(place)
            write_archive(path, values)
    return SettledStates(init_states, values)


def _settle(bundle: TaskBundle, init_states: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Settle each initial state; returns the parts of the snapshots by name, stacked along axis 0."""
    replica, rows = Replica(bundle), []
    for state in init_states:
        replica.reset(state, SETTLE_STEPS)
        rows.append(_pack(replica.snapshot()))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _pack(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    parts = {name: getattr(snapshot, name) for name in ("integration_state", "xpos", "xquat")}
    parts.update({f"memory.{index:02}": array for index, array in enumerate(snapshot.memory)})
    parts.update(
        {f"sample.{name}": array for name, array in zip(Sample._fields, snapshot.sample, strict=True)}
    )
    return parts


def _unpack(values: dict[str, NDArray[Any]], row: int) -> Snapshot:
    """The snapshot at ``row``; its arrays are views of the stored ones and must not be written to."""
    memory = sorted(name for name in values if name.startswith("memory."))
    return Snapshot(
        integration_state=values["integration_state"][row],
        xpos=values["xpos"][row],
        xquat=values["xquat"][row],
        memory=tuple(values[name][row] for name in memory),
        sample=tuple(values[f"sample.{name}"][row] for name in Sample._fields),
    )


def _key(bundle: TaskBundle, init_states: NDArray[np.float64]) -> str:
    """A digest of everything that decides the last bits of the settled states.

    It covers the bundle's own numbers, which may differ if the task is compiled on another machine.
    """
    digest = hashlib.sha256(_machine().encode())
    bundled = (*bundle.arm_at_reset, bundle.state_at_reset, bundle.model.body_pos, bundle.model.body_quat)
    for array in (init_states, *bundled):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@functools.cache
def _machine() -> str:
    """A description of the code, libraries and processor that compute a control step."""
    parts = (
        SOURCES_DIGEST,
        mujoco.__version__,
        platform.machine(),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        os.environ.get("OPENBLAS_CORETYPE", ""),
        numba.__version__,
        importlib.metadata.version("scipy"),
        np.__version__,
        str(SETTLE_STEPS),
    )
    return "\n".join(parts)
