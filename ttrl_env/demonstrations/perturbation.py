"""New initial states: a shipped one with its objects shifted by small random distances."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.task.bundle import TaskBundle

MAX_SHIFTS = 20
"""Number of random shifts to try before the shipped state is used unchanged."""

MAX_DRIFT = 0.01
"""Distance in metres between an object's shifted and settled position above which it fell or was hit."""


def settle(
    bundle: TaskBundle,
    init_state: NDArray[np.float64],
    settle_steps: int,
    shift: float,
    rng: np.random.Generator,
) -> tuple[Replica, NDArray[np.float64]]:
    """A settled simulation, and the initial state ``[1 + nq + nv]`` it started from.

    Every object with a free joint is shifted horizontally by up to ``shift`` metres along each axis. If an
    object falls, topples or is pushed away, new shifts are sampled, at most :data:`MAX_SHIFTS` times.
    """
    replica = Replica(bundle)
    replica.reset(init_state, settle_steps)
    if shift == 0.0:
        return replica, init_state
    addresses = _free_joints(bundle.model)
    rest = replica.state().qpos
    for _ in range(MAX_SHIFTS):
        shifts = rng.uniform(-shift, shift, size=(len(addresses), 2))
        shifted = init_state.copy()
        wanted = rest.copy()
        for address, offset in zip(addresses, shifts, strict=True):
            shifted[1 + address : 3 + address] += offset
            wanted[address : address + 2] += offset
        replica.reset(shifted, settle_steps)
        if _near(replica.state().qpos, wanted, addresses):
            return replica, shifted
    replica.reset(init_state, settle_steps)
    return replica, init_state


def _free_joints(model: mujoco.MjModel) -> list[int]:
    """Addresses in qpos of the objects' free joints."""
    free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    return [int(address) for address in model.jnt_qposadr[free]]


def _near(qpos: NDArray[np.float64], wanted: NDArray[np.float64], addresses: list[int]) -> bool:
    """Whether every object is within :data:`MAX_DRIFT` of the wanted position and 0.1 rad of its rotation."""
    for address in addresses:
        if np.abs(qpos[address : address + 3] - wanted[address : address + 3]).max() > MAX_DRIFT:
            return False
        turn = abs(float(qpos[address + 3 : address + 7] @ wanted[address + 3 : address + 7]))
        if turn < np.cos(0.05):
            return False
    return True
