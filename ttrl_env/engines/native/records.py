"""The records that simulation code passes around: named tuples of arrays, nothing else.

Two kinds: what is the same for every replica of a task (:class:`TaskArrays`), and what each replica
has of its own (:class:`Views` of its ``mjData``, :class:`Memory`, :class:`Sample`). The compiled
functions of :mod:`ttrl_env.engines.native.control_step` take them; this module itself needs only NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco.records import ContactLayout


class TaskArrays(NamedTuple):
    """What the compiled control step reads of a task; the same for all its replicas."""

    arm: ArmConstants
    sample: SampleConstants
    goal: Goal
    burners: Burners
    contacts: ContactLayout
    quiet: QuietPairs


class ArmConstants(NamedTuple):
    """What the controller knows of the robot and never changes."""

    eef_site: np.int32
    """Id of the site between the fingertips that is controlled."""
    qpos: NDArray[np.int64]
    """``[7]`` addresses of the arm's joints in qpos."""
    dofs: NDArray[np.int64]
    """``[7]`` addresses of the arm's joints in qvel."""
    actuators: NDArray[np.int64]
    """``[7]`` ids of the joints' motors."""
    torque_limits: NDArray[np.float64]
    """``[2, 7]`` lowest and highest motor torques, Nm."""
    inertia_index: NDArray[np.int64]
    """``[7, 7]`` where each element of the arm's inertia matrix is in MuJoCo's sparse one; -1: zero."""
    initial_qpos: NDArray[np.float64]
    """``[7]`` the posture that the null-space spring pulls to, rad."""
    stiffness: NDArray[np.float64]
    """``[6]`` task-space stiffness."""
    damping: NDArray[np.float64]
    """``[6]`` task-space damping."""
    action_scale: NDArray[np.float64]
    """``[6]`` metres and radians that a full action asks for."""
    gripper_actuators: NDArray[np.int64]
    """``[2]`` ids of the fingers' actuators."""
    gripper_bias: NDArray[np.float64]
    """``[2]`` centre of the fingers' control range."""
    gripper_weight: NDArray[np.float64]
    """``[2]`` half width of the fingers' control range."""
    gripper_speed: float
    """How far the gripper command moves each substep; its range is -1 to 1."""


class SampleConstants(NamedTuple):
    """Where the proprioceptive observations are read."""

    eef_site: int
    eef_body: int
    gripper_qpos: NDArray[np.int64]
    """``[2]`` qpos addresses of the fingers."""


class Goal(NamedTuple):
    """A conjunction of ``n`` predicates; what a predicate does not use is :data:`NONE` or zero."""

    kind: NDArray[np.int64]
    """``[n]`` one of the kinds above."""
    body: NDArray[np.int64]
    """``[n]`` root body of the object that is to be somewhere."""
    other: NDArray[np.int64]
    """``[n]`` root body of the object it is to be on, or the site it is to be on or in."""
    size: NDArray[np.float64]
    """``[n, 3]`` half sizes of that site, metres."""
    touching: NDArray[np.bool_]
    """``[n]`` whether contact between the two is asked for as well."""
    geoms: NDArray[np.bool_]
    """``[n, 2, ngeom]`` which geoms belong to the first and to the second of the two."""
    joints: NDArray[np.int64]
    """``[n, most]`` qpos addresses of the joints compared, padded with :data:`NONE`."""
    comparison: NDArray[np.int64]
    """``[n]`` :data:`BELOW`, :data:`UP_TO`, :data:`ABOVE` or :data:`FROM`."""
    threshold: NDArray[np.float64]
    """``[n]`` metres or radians."""


class Burners(NamedTuple):
    """Sites that show whether a stove is on."""

    sites: NDArray[np.int64]
    """``[n]`` site ids."""
    joints: NDArray[np.int64]
    """``[n]`` qpos addresses of the knobs."""
    comparison: NDArray[np.int64]
    threshold: NDArray[np.float64]
    """``[n]`` the knob's condition for "on", see :func:`ttrl_env.engines.native.task.goals.compare`."""


class QuietPairs(NamedTuple):
    """Pairs of bodies that cannot touch while slides are within bounds: see ``task/quiet_pairs.py``."""

    signatures: NDArray[np.int64]
    """``[n]`` the pairs as MuJoCo lists excluded ones: first body << 16 + second, ascending."""
    joints: NDArray[np.int64]
    """``[k]`` qpos addresses of the slides."""
    lowest: NDArray[np.float64]
    """``[k]`` metres"""
    highest: NDArray[np.float64]
    """``[k]`` metres"""


class TextureLayout(NamedTuple):
    """Which part of a run of pixels each of a model's ``n`` textures is."""

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
    """Address of the same without the pairs of :class:`QuietPairs`."""
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
    """``[3]`` how often each of :data:`ttrl_env.engines.mujoco.versions.DIVERGENCE_WARNINGS` was raised."""


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


class ArmState(NamedTuple):
    """What one replica's controller remembers. Arrays, written in place.

    Jacobians and inertia are transposed (``[7, 6]``): robosuite's are stored by columns.
    """

    eef_pos: NDArray[np.float64]
    """``[3]`` end-effector position when it was last measured, metres, world frame."""
    eef_mat: NDArray[np.float64]
    """``[3, 3]`` its orientation."""
    eef_velocity: NDArray[np.float64]
    """``[6]`` its linear and angular velocity."""
    joint_pos: NDArray[np.float64]
    """``[7]`` rad."""
    joint_vel: NDArray[np.float64]
    """``[7]`` rad/s."""
    jacobian: NDArray[np.float64]
    """``[7, 6]`` transposed Jacobian of the end effector."""
    inertia: NDArray[np.float64]
    """``[7, 7]`` transposed inertia matrix of the arm."""
    goal_pos: NDArray[np.float64]
    """``[3]`` where the end effector is to go."""
    goal_mat: NDArray[np.float64]
    """``[3, 3]`` how it is to be oriented; kept while actions ask for no rotation."""
    gripper: NDArray[np.float64]
    """``[2]`` the fingers' integrated command."""
    stale: NDArray[np.bool_]
    """``[1]`` whether the measurements are to be taken anew; LIBERO starts an episode without."""


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
