"""Named tuples of arrays that the simulation's compiled functions take as arguments.

:class:`TaskArrays` is the same for every replica of a task. Each replica has its own :class:`Views` of its
``mjData``, its own :class:`Memory` and its own :class:`Sample`. The functions are in
:mod:`ttrl_env.engines.native.control_step`; this module itself needs only NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco.records import ContactLayout


class TaskArrays(NamedTuple):
    """Constants of a task for the compiled control step; the same for all its replicas."""

    arm: ArmConstants
    sample: SampleConstants
    goal: Goal
    burners: Burners
    contacts: ContactLayout
    quiet: QuietPairs


class ArmConstants(NamedTuple):
    """Constants of the robot and of its controller."""

    eef_site: np.int32
    """Id of the controlled site, between the fingertips."""
    qpos: NDArray[np.int64]
    """``[7]`` addresses of the arm's joints in qpos."""
    dofs: NDArray[np.int64]
    """``[7]`` addresses of the arm's joints in qvel."""
    actuators: NDArray[np.int64]
    """``[7]`` ids of the joints' motors."""
    torque_limits: NDArray[np.float64]
    """``[2, 7]`` lowest and highest motor torques, Nm."""
    inertia_index: NDArray[np.int64]
    """``[7, 7]`` index of each element of the arm's inertia matrix in MuJoCo's sparse one; -1: zero."""
    initial_qpos: NDArray[np.float64]
    """``[7]`` posture towards which the null-space spring pulls, rad."""
    stiffness: NDArray[np.float64]
    """``[6]`` task-space stiffness."""
    damping: NDArray[np.float64]
    """``[6]`` task-space damping."""
    action_scale: NDArray[np.float64]
    """``[6]`` displacement for an action of 1: metres and radians."""
    gripper_actuators: NDArray[np.int64]
    """``[2]`` ids of the fingers' actuators."""
    gripper_bias: NDArray[np.float64]
    """``[2]`` centre of the fingers' control range."""
    gripper_weight: NDArray[np.float64]
    """``[2]`` half width of the fingers' control range."""
    gripper_speed: float
    """Change of the gripper command in each substep; its range is -1 to 1."""


class SampleConstants(NamedTuple):
    """Ids and addresses of the proprioceptive observations."""

    eef_site: int
    eef_body: int
    gripper_qpos: NDArray[np.int64]
    """``[2]`` qpos addresses of the fingers."""


class Goal(NamedTuple):
    """A conjunction of ``n`` predicates; fields that a predicate does not use are :data:`NONE` or zero."""

    kind: NDArray[np.int64]
    """``[n]`` one of the kinds above."""
    body: NDArray[np.int64]
    """``[n]`` root body of the object whose place is checked."""
    other: NDArray[np.int64]
    """``[n]`` root body of the object to be on, or the site to be on or in."""
    size: NDArray[np.float64]
    """``[n, 3]`` half sizes of that site, metres."""
    touching: NDArray[np.bool_]
    """``[n]`` whether contact between the two is required too."""
    geoms: NDArray[np.bool_]
    """``[n, 2, ngeom]`` bool: the geoms of the first and of the second."""
    joints: NDArray[np.int64]
    """``[n, most]`` qpos addresses of the joints compared, padded with :data:`NONE`."""
    comparison: NDArray[np.int64]
    """``[n]`` :data:`BELOW`, :data:`UP_TO`, :data:`ABOVE` or :data:`FROM`."""
    threshold: NDArray[np.float64]
    """``[n]`` metres or radians."""


class Burners(NamedTuple):
    """Sites whose colour shows whether a stove is on."""

    sites: NDArray[np.int64]
    """``[n]`` site ids."""
    joints: NDArray[np.int64]
    """``[n]`` qpos addresses of the knobs."""
    comparison: NDArray[np.int64]
    threshold: NDArray[np.float64]
    """``[n]`` the knob's condition for "on", see :func:`ttrl_env.engines.native.task.goals.compare`."""


class QuietPairs(NamedTuple):
    """Pairs of bodies that cannot touch while slide joints are within bounds: see ``task/quiet_pairs.py``."""

    signatures: NDArray[np.int64]
    """``[n]`` the pairs as MuJoCo lists excluded ones: first body << 16 + second, ascending."""
    joints: NDArray[np.int64]
    """``[k]`` qpos addresses of the slides."""
    lowest: NDArray[np.float64]
    """``[k]`` metres"""
    highest: NDArray[np.float64]
    """``[k]`` metres"""


class TextureLayout(NamedTuple):
    """Sizes of a model's ``n`` textures and their places in one array of pixels."""

    width: NDArray[np.int64]
    """``[n]`` pixels"""
    height: NDArray[np.int64]
    """``[n]`` pixels"""
    start: NDArray[np.int64]
    """``[n]`` bytes"""


class Views(NamedTuple):
    """A replica's MuJoCo arrays, which share memory with its ``mjData``."""

    model: int
    """Address of the ``mjModel``, shared by every replica of a task."""
    quiet_model: int
    """Address of a copy of the model that excludes contacts between :class:`QuietPairs`."""
    data: int
    """Address of the replica's ``mjData``."""
    qpos: NDArray[np.float64]
    qvel: NDArray[np.float64]
    ctrl: NDArray[np.float64]
    bias: NDArray[np.float64]
    """``qfrc_bias``: gravity, Coriolis and centrifugal forces."""
    inertia: NDArray[np.float64]
    """The joint-space inertia, sparse; :func:`ttrl_env.engines.mujoco.versions.inertia`."""
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
    """``[3]`` counts of :data:`ttrl_env.engines.mujoco.versions.DIVERGENCE_WARNINGS`."""


class Memory(NamedTuple):
    """State of a replica besides its ``mjData``. Arrays, written in place."""

    arm: ArmState
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` current opacity; :class:`Sample` has that of the sampling."""
    since_sample_s: NDArray[np.float64]
    """``[1]`` LIBERO's sampling clock."""
    sampled: NDArray[np.bool_]
    """``[1]`` whether a sample has been taken in this sampling period."""
    executed: NDArray[np.int64]
    """``[1]`` number of control steps begun in the current chunk."""
    jacobians: NDArray[np.float64]
    """``[2, 3, nv]`` scratch space."""


class ArmState(NamedTuple):
    """State of one replica's controller. Arrays, written in place.

    Jacobian and inertia are transposed, because robosuite's are stored by columns.
    """

    eef_pos: NDArray[np.float64]
    """``[3]`` end-effector position at the last measurement, metres, world frame."""
    eef_mat: NDArray[np.float64]
    """``[3, 3]`` end-effector orientation."""
    eef_velocity: NDArray[np.float64]
    """``[6]`` linear and angular velocity of the end effector."""
    joint_pos: NDArray[np.float64]
    """``[7]`` rad."""
    joint_vel: NDArray[np.float64]
    """``[7]`` rad/s."""
    jacobian: NDArray[np.float64]
    """``[7, 6]`` transposed Jacobian of the end effector."""
    inertia: NDArray[np.float64]
    """``[7, 7]`` transposed inertia matrix of the arm."""
    goal_pos: NDArray[np.float64]
    """``[3]`` goal position of the end effector."""
    goal_mat: NDArray[np.float64]
    """``[3, 3]`` goal orientation; unchanged while actions contain no rotation."""
    gripper: NDArray[np.float64]
    """``[2]`` the fingers' integrated command."""
    stale: NDArray[np.bool_]
    """``[1]`` whether the next substep must measure again; False when an episode starts, as in LIBERO."""


class Sample(NamedTuple):
    """The data from which observations are made, as of the last sampling. Arrays, written in place."""

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
    qpos: NDArray[np.float64]
    qvel: NDArray[np.float64]
    xpos: NDArray[np.float64]
    xquat: NDArray[np.float64]
