"""LIBERO's low-level control: operational-space torques for the arm, an integrated gripper command.

The controller is robosuite's OSC_POSE as LIBERO configures it (Khatib 1987): a task-space spring and
damper towards a goal pose, its wrench shaped by the arm's task-space inertia, gravity compensation,
and a weak spring towards the initial posture in the null space.

Trajectories have to equal LIBERO's in the last bit: a rounding error grows into another trajectory
within seconds. So the arithmetic is robosuite's, operation by operation. The same products go through
BLAS in the same order, and the same matrices are stored by columns, which decides the BLAS kernel.
"""

from __future__ import annotations

import math

import numpy as np

from ttrl_env.engines.compiled import njit
from ttrl_env.engines.mujoco.libmujoco import call_jac_site
from ttrl_env.engines.native.copying import copy_matrix
from ttrl_env.engines.native.records import ArmState

ARM_DOF = 7

_NULL_SPACE_STIFFNESS = 10
_QUATERNION_EPS = np.finfo(float).eps * 4.0


def make_arm_state() -> ArmState:
    """A controller state of zeros; a replica's reset fills it from its task's bundle."""
    return ArmState(
        eef_pos=np.zeros(3),
        eef_mat=np.zeros((3, 3)),
        eef_velocity=np.zeros(6),
        joint_pos=np.zeros(ARM_DOF),
        joint_vel=np.zeros(ARM_DOF),
        jacobian=np.zeros((ARM_DOF, 6)),
        inertia=np.zeros((ARM_DOF, ARM_DOF)),
        goal_pos=np.zeros(3),
        goal_mat=np.zeros((3, 3)),
        gripper=np.zeros(2),
        stale=np.zeros(1, dtype=np.bool_),
    )


@njit(nogil=True, error_model="numpy")
def measure(arm, constants, library, views, jacobians):  # type: ignore[no-untyped-def]
    """Read the end effector's pose and velocity, its Jacobian and the arm's inertia from the simulation.

    ``jacobians`` is scratch space, ``[2, 3, nv]``: translation and rotation with respect to every dof.
    Velocities are products over every dof of the scene, as in robosuite, although most terms are zero.
    """
    site = constants.eef_site
    address = jacobians.ctypes.data
    call_jac_site(
        library.jac_site, views.model, views.data, address, address + jacobians[0].nbytes, np.int32(site)
    )
    linear, angular = np.dot(jacobians[0], views.qvel), np.dot(jacobians[1], views.qvel)
    for i in range(3):
        arm.eef_pos[i] = views.site_xpos[site, i]
        for j in range(3):
            arm.eef_mat[i, j] = views.site_xmat[site, 3 * i + j]
        arm.eef_velocity[i], arm.eef_velocity[3 + i] = linear[i], angular[i]
    for i in range(ARM_DOF):
        arm.joint_pos[i] = views.qpos[constants.qpos[i]]
        arm.joint_vel[i] = views.qvel[constants.dofs[i]]
        for axis in range(3):
            arm.jacobian[i, axis] = jacobians[0, axis, constants.dofs[i]]
            arm.jacobian[i, 3 + axis] = jacobians[1, axis, constants.dofs[i]]
        for j in range(ARM_DOF):
            index = constants.inertia_index[i, j]
            arm.inertia[j, i] = views.inertia[index] if index >= 0 else 0.0


@njit(nogil=True, error_model="numpy")
def set_goal(arm, constants, action):  # type: ignore[no-untyped-def]
    """Move the goal to the action's offset from the measured pose."""
    delta = np.empty(6)
    for i in range(6):
        delta[i] = min(max(action[i], -1.0), 1.0) * constants.action_scale[i]
    for i in range(3):
        arm.goal_pos[i] = arm.eef_pos[i] + delta[i]
    if delta[3] != 0.0 or delta[4] != 0.0 or delta[5] != 0.0:
        copy_matrix(arm.goal_mat, np.dot(rotation_matrix(delta[3:]), arm.eef_mat))


@njit(nogil=True, error_model="numpy")
def set_torques(arm, constants, views):  # type: ignore[no-untyped-def]
    """Write the motor torques that pull the end effector towards its goal."""
    force, torque = np.empty(3), orientation_error(arm.goal_mat, arm.eef_mat)
    for i in range(3):
        j = 3 + i
        force[i] = (arm.goal_pos[i] - arm.eef_pos[i]) * constants.stiffness[i] + (
            -arm.eef_velocity[i] * constants.damping[i]
        )
        torque[i] = torque[i] * constants.stiffness[j] + (-arm.eef_velocity[j] * constants.damping[j])
    lambda_pos, lambda_ori, null_space = task_space_inertia(arm.inertia.T, arm.jacobian)
    wrench, linear, angular = np.empty(6), np.dot(lambda_pos, force), np.dot(lambda_ori, torque)
    for i in range(3):
        wrench[i], wrench[3 + i] = linear[i], angular[i]
    torques = np.dot(arm.jacobian, wrench)
    pull = np.empty(ARM_DOF)
    for i in range(ARM_DOF):
        pull[i] = (
            _NULL_SPACE_STIFFNESS * (constants.initial_qpos[i] - arm.joint_pos[i])
            - np.sqrt(_NULL_SPACE_STIFFNESS) * 2 * arm.joint_vel[i]
        )
    posture = np.dot(null_space.transpose(), np.dot(arm.inertia.T, pull))
    for i in range(ARM_DOF):
        total = torques[i] + views.bias[constants.dofs[i]]
        total += posture[i]
        limited = min(max(total, constants.torque_limits[0, i]), constants.torque_limits[1, i])
        views.ctrl[constants.actuators[i]] = limited


@njit(nogil=True, error_model="numpy")
def set_gripper(arm, constants, views, action):  # type: ignore[no-untyped-def]
    """Advance the gripper command by one substep; a negative ``action`` opens, a positive one closes."""
    for finger in range(2):
        direction = -1.0 if finger == 0 else 1.0
        moved = arm.gripper[finger] + direction * constants.gripper_speed * np.sign(action)
        arm.gripper[finger] = min(max(moved, -1.0), 1.0)
        views.ctrl[constants.gripper_actuators[finger]] = (
            constants.gripper_bias[finger] + constants.gripper_weight[finger] * arm.gripper[finger]
        )


@njit(nogil=True, error_model="numpy")
def task_space_inertia(inertia, jacobian):  # type: ignore[no-untyped-def]
    """Task-space inertia for translation and for rotation, and the null-space projector.

    ``inertia`` is ``[7, 7]``, ``jacobian`` transposed ``[7, 6]``. The pseudo-inverses cut off tiny singular
    values, which keeps torques bounded near singular postures.
    """
    full = jacobian.T
    linear = np.ascontiguousarray(jacobian[:, :3]).T
    angular = np.ascontiguousarray(jacobian[:, 3:]).T
    mobility = np.linalg.inv(inertia)
    lambda_full = np.linalg.pinv(np.dot(np.dot(full, mobility), full.transpose()))
    lambda_pos = np.linalg.pinv(np.dot(np.dot(linear, mobility), linear.transpose()))
    lambda_ori = np.linalg.pinv(np.dot(np.dot(angular, mobility), angular.transpose()))
    generalised_inverse = np.dot(np.dot(mobility, full.transpose()), lambda_full)
    null_space = np.dot(generalised_inverse, full)
    for i in range(ARM_DOF):
        for j in range(ARM_DOF):
            null_space[i, j] = (1.0 if i == j else 0.0) - null_space[i, j]
    return lambda_pos, lambda_ori, null_space


@njit(nogil=True, error_model="numpy")
def orientation_error(desired, current):  # type: ignore[no-untyped-def]
    """Half the sum of the cross products of the axes, which approximates a small rotation vector."""
    error = np.empty(3)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        total = current[j, 0] * desired[k, 0] - current[k, 0] * desired[j, 0]
        total += current[j, 1] * desired[k, 1] - current[k, 1] * desired[j, 1]
        total += current[j, 2] * desired[k, 2] - current[k, 2] * desired[j, 2]
        error[i] = 0.5 * total
    return error


@njit(nogil=True, error_model="numpy")
def rotation_matrix(vector):  # type: ignore[no-untyped-def]
    """Rotation matrix of a non-zero rotation vector, by way of a float32 quaternion as in robosuite."""
    angle = np.sqrt(np.dot(vector, vector))
    if angle == 0.0:  # the squares underflowed
        return np.identity(3)
    half_sine = np.sin(angle / 2.0)
    q = np.empty(4, dtype=np.float32)
    q[0] = np.cos(angle / 2.0)
    for i in range(3):
        q[1 + i] = vector[i] / angle * half_sine
    norm = np.dot(q, q)
    if norm < _QUATERNION_EPS:
        return np.identity(3)
    scale = math.sqrt(2.0 / norm)
    for i in range(4):
        q[i] *= scale
    p = np.empty((4, 4), dtype=np.float32)
    for i in range(4):
        for j in range(4):
            p[i, j] = q[i] * q[j]
    return np.array(
        [
            [1.0 - p[2, 2] - p[3, 3], p[1, 2] - p[3, 0], p[1, 3] + p[2, 0]],
            [p[1, 2] + p[3, 0], 1.0 - p[1, 1] - p[3, 3], p[2, 3] - p[1, 0]],
            [p[1, 3] - p[2, 0], p[2, 3] + p[1, 0], 1.0 - p[1, 1] - p[2, 2]],
        ]
    )
