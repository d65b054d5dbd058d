"""Initial states beyond the shipped ones: the same scene with its objects shifted a little."""

from __future__ import annotations

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.task.bundle import TaskBundle

MAX_SHIFTS = 20
"""Shifts that are tried before the shipped state itself is taken."""

MAX_DRIFT = 0.01
"""An object that settles further than this from where its shift puts it, metres, fell or was hit."""


def settle(
    bundle: TaskBundle,
    init_state: NDArray[np.float64],
    settle_steps: int,
    shift: float,
    rng: np.random.Generator,
) -> tuple[Replica, NDArray[np.float64]]:
    """A settled simulation, and the initial state ``[1 + nq + nv]`` it started from.

    Every object that moves freely is shifted horizontally by up to ``shift`` metres along each axis. A
    shift after which something falls, topples or is pushed away is replaced by another.
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
    """Whether every object is where it should be and as upright."""
    for address in addresses:
        if np.abs(qpos[address : address + 3] - wanted[address : address + 3]).max() > MAX_DRIFT:
            return False
        turn = abs(float(qpos[address + 3 : address + 7] @ wanted[address + 3 : address + 7]))
        if turn < np.cos(0.05):
            return False
    return True
