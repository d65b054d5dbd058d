"""LIBERO's control step as one compiled loop that holds no lock and calls no Python code.

A control step is 25 substeps. Upstream computes each substep's kinematics three times: twice before the
controller and once inside ``mj_step``. Here ``mj_step`` is split in two and the controller runs between
the halves, so the kinematics are computed once. The trajectory is the same in every bit.

In some MuJoCo versions, upstream's extra forward passes also change the point from which the step's solver
starts. There the constraint solver alone is run again.

LIBERO's observations lag: a clock in floating point samples them at a fixed substep before the end of the
control step. This module repeats the clock's arithmetic. It copies everything that an observation may need
at that moment (:class:`Sample`), so that images can be rendered afterwards.
"""

from __future__ import annotations

import numpy as np

from ttrl_env.engines.compiled import njit
from ttrl_env.engines.mujoco.libmujoco import call_with_data
from ttrl_env.engines.native import controller
from ttrl_env.engines.native.copying import copy_matrix, copy_vector
from ttrl_env.engines.native.records import Memory
from ttrl_env.engines.native.task.goals import compare, goal_holds

RUNNING, SUCCESS, DIVERGED = range(3)
"""How a chunk of control steps ended."""

_SUBSTEPS = 25
_TIMESTEP_S = 0.002
_SAMPLING_PERIOD_S = 1.0 / 20


@njit(nogil=True, error_model="numpy")
def run_chunk(task, library, views, memory, sample, actions):  # type: ignore[no-untyped-def]
    """Execute ``actions`` ``[n, 7]`` until one succeeds or the simulation diverges.

    Returns :data:`RUNNING`, :data:`SUCCESS` or :data:`DIVERGED`; ``memory.executed`` counts the steps.
    Raises ``LinAlgError`` when the arm's inertia is no longer a finite, invertible matrix.
    """
    for step in range(actions.shape[0]):
        memory.executed[0] = step + 1
        _control_step(task, library, views, memory, sample, actions[step])
        success = goal_holds(task.goal, views, task.contacts)
        update_burners(task.burners, views, memory)
        if _diverged(views):
            return DIVERGED
        if success:
            return SUCCESS
    return RUNNING


@njit(nogil=True, error_model="numpy")
def _control_step(task, library, views, memory, sample, action):  # type: ignore[no-untyped-def]
    for substep in range(_SUBSTEPS):
        model = views.quiet_model if _is_quiet(task.quiet, views.qpos) else views.model
        call_with_data(library.step1, model, views.data)
        if library.forward_warms_solver:
            _solve_in_advance(library, views, 2 if memory.arm.stale[0] else 1)
        if memory.arm.stale[0]:
            controller.measure(memory.arm, task.arm, library, views, memory.jacobians)
        if substep == 0:
            controller.set_goal(memory.arm, task.arm, action)
        controller.set_torques(memory.arm, task.arm, views)
        memory.arm.stale[0] = True
        controller.set_gripper(memory.arm, task.arm, views, action[6])
        call_with_data(library.step2, views.model, views.data)
        _tick(task, views, memory, sample)


@njit(nogil=True, error_model="numpy")
def _solve_in_advance(library, views, num_forwards):  # type: ignore[no-untyped-def]
    """Compute the solution from which the step's solver starts, as upstream's forward passes do.

    Each pass solves for the previous substep's torques, starting from the solution of the pass before.
    The passes' other results are not needed: the step computes them again.
    """
    call_with_data(library.fwd_actuation, views.model, views.data)
    call_with_data(library.fwd_acceleration, views.model, views.data)
    for _ in range(num_forwards):
        call_with_data(library.fwd_constraint, views.model, views.data)


@njit(nogil=True, error_model="numpy")
def _tick(task, views, memory, sample):  # type: ignore[no-untyped-def]
    """Advance the sampling clock by one substep, and take a sample if one is due."""
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
    """Set the sampling clock as LIBERO does at an episode's start.

    LIBERO takes two samples there and counts each as a substep.
    """
    memory.since_sample_s[0] = 0.0 + _TIMESTEP_S + _TIMESTEP_S
    memory.sampled[0] = True


@njit(nogil=True, error_model="numpy")
def take_sample(task, views, memory, sample):  # type: ignore[no-untyped-def]
    """Copy everything that an observation of the current substep needs."""
    copy_vector(sample.eef_pos, views.site_xpos[task.sample.eef_site])
    for i in range(4):
        sample.eef_quat[i] = views.xquat[task.sample.eef_body, (i + 1) % 4]
    for finger in range(2):
        sample.gripper_qpos[finger] = views.qpos[task.sample.gripper_qpos[finger]]
    copy_matrix(sample.site_xpos, views.site_xpos)
    copy_matrix(sample.site_xmat, views.site_xmat)
    copy_matrix(sample.geom_xpos, views.geom_xpos)
    copy_matrix(sample.geom_xmat, views.geom_xmat)
    copy_matrix(sample.cam_xpos, views.cam_xpos)
    copy_matrix(sample.cam_xmat, views.cam_xmat)
    copy_matrix(sample.light_xpos, views.light_xpos)
    copy_matrix(sample.light_xdir, views.light_xdir)
    copy_vector(sample.burner_alpha, memory.burner_alpha)
    copy_vector(sample.qpos, views.qpos)
    copy_vector(sample.qvel, views.qvel)
    copy_matrix(sample.xpos, views.xpos)
    copy_matrix(sample.xquat, views.xquat)


@njit(nogil=True, error_model="numpy")
def update_burners(burners, views, memory):  # type: ignore[no-untyped-def]
    """Flip a burner's opacity ``a`` to ``1 - a`` when its sign disagrees with the knob, as LIBERO does."""
    for i in range(burners.sites.shape[0]):
        on = compare(views.qpos[burners.joints[i]], burners.comparison[i], burners.threshold[i])
        if on != (memory.burner_alpha[i] > 0):
            memory.burner_alpha[i] = 1 - memory.burner_alpha[i]


@njit(nogil=True, error_model="numpy")
def _diverged(views):  # type: ignore[no-untyped-def]
    for count in views.warnings:
        if count > 0:
            return True
    return not (np.isfinite(views.qpos).all() and np.isfinite(views.qvel).all())


@njit(nogil=True, error_model="numpy")
def _is_quiet(quiet, qpos):  # type: ignore[no-untyped-def]
    """Whether every slide joint is in the interval where no quiet pair can touch; False for NaN."""
    for i in range(quiet.joints.shape[0]):
        if not quiet.lowest[i] <= qpos[quiet.joints[i]] <= quiet.highest[i]:
            return False
    return True
