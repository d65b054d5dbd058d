"""Shipped initial states after settling, kept beside the task's bundle: a reset to one is a copy.

LIBERO ships fifty initial states a task, in which objects hang a little above the table. Ten control
steps settle them, 25 ms each time. They are settled once, when a task is first opened, and what every
replica's future depends on (:class:`~ttrl_env.engines.native.replica.Snapshot`) is stored; two megabytes
a task.

A settled state has the last bits of the machine that computed it. So the file's name changes with the
processor, the linear algebra in use and the code of the control step, as it does with the initial
states and the bundle.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import mujoco  # type: ignore[import-untyped]
import numba
import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ttrl_env.engines.compiled import SOURCES_DIGEST
from ttrl_env.engines.native.records import Sample
from ttrl_env.engines.native.replica import Replica, Snapshot
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.files import keeping, read_archive, remove_abandoned, write_archive

SETTLE_STEPS = 10
"""The published protocol's; states settled for longer or shorter are not kept."""


class SettledStates:
    """Snapshots of a task's initial states."""

    def __init__(self, init_states: NDArray[np.float64], values: dict[str, NDArray]) -> None:
        """``init_states`` ``[n, 1 + nq + nv]``; ``values`` has a row of each part of a snapshot for each."""
        self._row = {state.tobytes(): row for row, state in enumerate(init_states)}
        self._values = values

    def find(self, init_state: NDArray[np.float64]) -> Snapshot | None:
        """The state settled from ``init_state``, or ``None`` if that is not one of them."""
        row = self._row.get(init_state.tobytes())
        return None if row is None else _unpack(self._values, row)


def load_settled(place: Path, bundle: TaskBundle, init_states: NDArray[np.float64]) -> SettledStates:
    """The settled states of a bundle kept in ``place``; settled now (a second) if they are not there."""
    path = place / f"settled-{_key(bundle, init_states)}.npz"
    values = read_archive(path)
    if values is None:
        values = _settle(bundle, init_states)
        with keeping(place):
            place.mkdir(parents=True, exist_ok=True)
            remove_abandoned(place)
            write_archive(path, values)
    return SettledStates(init_states, values)


def _settle(bundle: TaskBundle, init_states: NDArray[np.float64]) -> dict[str, NDArray]:
    """Every part of the states' snapshots, stacked."""
    replica, rows = Replica(bundle), []
    for state in init_states:
        replica.reset(state, SETTLE_STEPS)
        rows.append(_pack(replica.snapshot()))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _pack(snapshot: Snapshot) -> dict[str, NDArray]:
    parts = {name: getattr(snapshot, name) for name in ("integration_state", "xpos", "xquat")}
    parts.update({f"memory.{index:02}": array for index, array in enumerate(snapshot.memory)})
    parts.update(
        {f"sample.{name}": array for name, array in zip(Sample._fields, snapshot.sample, strict=True)}
    )
    return parts


def _unpack(values: dict[str, NDArray], row: int) -> Snapshot:
    """A snapshot whose arrays are the stored ones: nobody writes into a snapshot."""
    memory = sorted(name for name in values if name.startswith("memory."))
    return Snapshot(
        integration_state=values["integration_state"][row],
        xpos=values["xpos"][row],
        xquat=values["xquat"][row],
        memory=tuple(values[name][row] for name in memory),
        sample=tuple(values[f"sample.{name}"][row] for name in Sample._fields),
    )


def _key(bundle: TaskBundle, init_states: NDArray[np.float64]) -> str:
    """Changes with whatever decides the last bits of the settled states.

    The bundle's own numbers are part of it: compiled again elsewhere, they may come out differently.
    """
    digest = hashlib.sha256(_machine().encode())
    bundled = (*bundle.arm_at_reset, bundle.state_at_reset, bundle.model.body_pos, bundle.model.body_quat)
    for array in (init_states, *bundled):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@functools.cache
def _machine() -> str:
    """The code, libraries and processor that compute a control step."""
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
