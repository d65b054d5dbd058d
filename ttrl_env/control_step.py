"""LIBERO's control step as one compiled loop: no Python, no lock, no allocation worth naming.

A control step is 25 substeps. Upstream computes each substep's kinematics three times (twice before
the controller, once inside ``mj_step``); splitting the step in two, with the controller between its
halves, computes them once and leaves every bit of the trajectory the same.

LIBERO's observations lag: they are sampled at a fixed substep before the end of the control step, by
a clock that counts in floating point. Its counting is repeated here, and everything that an
observation may need is copied at that moment (:class:`Sample`), so that it can be drawn afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ttrl_env import controller, goals, libmujoco
from ttrl_env.controller import ArmState
from ttrl_env.goals import compare, goal_holds
from ttrl_env.libmujoco import call_with_data

RUNNING, SUCCESS, DIVERGED = range(3)
"""What a chunk of control steps ended with."""

_SUBSTEPS = 25
_TIMESTEP_S = 0.002
_SAMPLING_PERIOD_S = 1.0 / 20

_DIVERGENCE_WARNINGS = tuple(
    int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in ("BADQPOS", "BADQVEL", "BADQACC")
)


class Views(NamedTuple):
    """A replica's MuJoCo arrays, which share memory with its ``mjData``."""

    model: int
    """Address of the ``mjModel``, shared by every replica of a task."""
    data: int
    """Address of the replica's ``mjData``."""
    qpos: NDArray[np.float64]
    qvel: NDArray[np.float64]
    ctrl: NDArray[np.float64]
    bias: NDArray[np.float64]
    """``qfrc_bias``: gravity, Coriolis and centrifugal forces."""
    inertia: NDArray[np.float64]
    """``M``: the joint-space inertia, sparse."""
    xpos: NDArray[np.float64]
    xquat: NDArray[np.float64]
    site_xpos: NDArray[np.float64]
    site_xmat: NDArray[np.float64]
    geom_xpos: NDArray[np.float64]
    geom_xmat: NDArray[np.float64]
    cam_xpos: NDArray[np.float64]
    cam_xmat: NDArray[np.float64]
    light_xpos: NDArray[np.float64]
    light_xdir: NDArray[np.float64]
    warnings: NDArray[np.int32]
    """How often each of MuJoCo's warnings was raised."""


class Sample(NamedTuple):
    """What observations are made of, as of the last sampling. Arrays, written in place."""

    eef_pos: NDArray[np.float64]
    eef_quat: NDArray[np.float64]
    gripper_qpos: NDArray[np.float64]
    site_xpos: NDArray[np.float64]
    site_xmat: NDArray[np.float64]
    geom_xpos: NDArray[np.float64]
    geom_xmat: NDArray[np.float64]
    cam_xpos: NDArray[np.float64]
    cam_xmat: NDArray[np.float64]
    light_xpos: NDArray[np.float64]
    light_xdir: NDArray[np.float64]
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity of the burners' sites."""


DRAWN = Sample._fields[3:-1]
"""The arrays of ``mjData`` that a picture is drawn from."""


class SampleConstants(NamedTuple):
    """Where the proprioceptive observations are read."""

    eef_site: int
    eef_body: int
    gripper_qpos: NDArray[np.int64]
    """``[2]`` qpos addresses of the fingers."""


class Burners(NamedTuple):
    """Sites that show whether a stove is on."""

    sites: NDArray[np.int64]
    """``[n]`` site ids."""
    joints: NDArray[np.int64]
    """``[n]`` qpos addresses of the knobs."""
    comparison: NDArray[np.int64]
    threshold: NDArray[np.float64]
    """``[n]`` the knob's condition for "on", see :func:`ttrl_env.goals.compare`."""


class Memory(NamedTuple):
    """What a replica remembers besides its ``mjData``. Arrays, written in place."""

    arm: ArmState
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity now; the sample's is that of the sampling."""
    since_sample_s: NDArray[np.float64]
    """``[1]`` LIBERO's sampling clock."""
    sampled: NDArray[np.bool_]
    """``[1]`` whether this sampling period has had its sample."""
    executed: NDArray[np.int64]
    """``[1]`` control steps of the current chunk that have begun."""
    jacobians: NDArray[np.float64]
    """``[2, 3, nv]`` scratch space."""


def _compile_run_chunk(sources: str) -> Callable[..., int]:
    """:func:`run_chunk`, with the code that it is compiled from as part of its key in Numba's cache.

    Numba compares only the file that a cached function is in, not those of the functions that it calls:
    an edited controller would not be noticed.
    """

    @njit(nogil=True, cache=True, error_model="numpy")
    def run_chunk(task, library, layout, views, memory, sample, actions):  # type: ignore[no-untyped-def]
        """Execute ``actions`` ``[n, 7]`` until one succeeds or the simulation diverges.

        Returns :data:`RUNNING`, :data:`SUCCESS` or :data:`DIVERGED`; ``memory.executed`` counts the steps.
        Raises ``LinAlgError`` when the arm's inertia is no longer a finite, invertible matrix.
        """
        _ = sources
        for step in range(actions.shape[0]):
            memory.executed[0] = step + 1
            _control_step(task, library, views, memory, sample, actions[step])
            success = goal_holds(task.goal, views, layout)
            update_burners(task.burners, views, memory)
            if _diverged(views):
                return DIVERGED
            if success:
                return SUCCESS
        return RUNNING

    return run_chunk


@njit(nogil=True, cache=True, error_model="numpy")
def _control_step(task, library, views, memory, sample, action):  # type: ignore[no-untyped-def]
    for substep in range(_SUBSTEPS):
        _call(library.step1, views)
        if memory.arm.stale[0]:
            controller.measure(memory.arm, task.arm, library, views, memory.jacobians)
        if substep == 0:
            controller.set_goal(memory.arm, task.arm, action)
        controller.set_torques(memory.arm, task.arm, views)
        memory.arm.stale[0] = True
        controller.set_gripper(memory.arm, task.arm, views, action[6])
        _call(library.step2, views)
        _tick(task, views, memory, sample)


@njit(nogil=True, cache=True, error_model="numpy")
def _tick(task, views, memory, sample):  # type: ignore[no-untyped-def]
    """Advance the sampling clock by one substep, and sample when it says so."""
    memory.since_sample_s[0] += _TIMESTEP_S
    if not memory.sampled[0] and memory.since_sample_s[0] <= _SAMPLING_PERIOD_S:
        take_sample(task, views, memory, sample)
        memory.sampled[0] = True
    if memory.since_sample_s[0] >= _SAMPLING_PERIOD_S:
        if not memory.sampled[0]:
            take_sample(task, views, memory, sample)
        memory.since_sample_s[0] %= _SAMPLING_PERIOD_S
        memory.sampled[0] = False


def restart_clock(memory: Memory) -> None:
    """Set the sampling clock as LIBERO does at an episode's start: two samples, each counted as a substep."""
    memory.since_sample_s[0] = 0.0 + _TIMESTEP_S + _TIMESTEP_S
    memory.sampled[0] = True


@njit(nogil=True, cache=True, error_model="numpy")
def take_sample(task, views, memory, sample):  # type: ignore[no-untyped-def]
    """Copy everything that an observation of this moment needs."""
    sample.eef_pos[:] = views.site_xpos[task.sample.eef_site]
    for i in range(4):
        sample.eef_quat[i] = views.xquat[task.sample.eef_body, (i + 1) % 4]
    for finger in range(2):
        sample.gripper_qpos[finger] = views.qpos[task.sample.gripper_qpos[finger]]
    sample.site_xpos[:] = views.site_xpos
    sample.site_xmat[:] = views.site_xmat
    sample.geom_xpos[:] = views.geom_xpos
    sample.geom_xmat[:] = views.geom_xmat
    sample.cam_xpos[:] = views.cam_xpos
    sample.cam_xmat[:] = views.cam_xmat
    sample.light_xpos[:] = views.light_xpos
    sample.light_xdir[:] = views.light_xdir
    sample.burner_alpha[:] = memory.burner_alpha


@njit(nogil=True, cache=True, error_model="numpy")
def update_burners(burners, views, memory):  # type: ignore[no-untyped-def]
    """Flip a burner's opacity ``a`` to ``1 - a`` when its sign disagrees with the knob, as LIBERO does."""
    for i in range(burners.sites.shape[0]):
        on = compare(views.qpos[burners.joints[i]], burners.comparison[i], burners.threshold[i])
        if on != (memory.burner_alpha[i] > 0):
            memory.burner_alpha[i] = 1 - memory.burner_alpha[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _diverged(views):  # type: ignore[no-untyped-def]
    for warning in _DIVERGENCE_WARNINGS:
        if views.warnings[warning] > 0:
            return True
    return not (np.isfinite(views.qpos).all() and np.isfinite(views.qvel).all())


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _call(function, views):  # type: ignore[no-untyped-def]
    call_with_data(function, views.model, views.data)


def _digest_of_sources() -> str:
    files = (libmujoco.__file__, controller.__file__, goals.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


run_chunk = _compile_run_chunk(_digest_of_sources())
