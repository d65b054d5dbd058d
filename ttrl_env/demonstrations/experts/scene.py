"""A task's geometry for the experts: poses and shapes of all bodies, computed from the simulator's state.

A :class:`Scene` holds the task's compiled model and computes the kinematics of one state at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import SimState
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.libero_tasks import LiberoTask

END_EFFECTOR = "gripper0_grip_site"
"""The site that LIBERO's controller moves; x runs through both fingers and z points out of the hand."""

FINGERS = ("gripper0_finger_joint1", "gripper0_finger_joint2")


class Gripper(NamedTuple):
    """Pose of the hand, and opening and speed of its fingers."""

    pos: NDArray[np.float64]
    """``[3]`` the point between the fingers, metres, world frame."""
    rotation: NDArray[np.float64]
    """``[3, 3]`` its axes in the world frame, as columns: along the fingers, across them, out of the hand."""
    gap: float
    """Distance between the fingers, metres: 0.08 when open, measured from one substep ago."""
    speed: float
    """Speed of the faster finger, metres a second."""

    @property
    def yaw(self) -> float:
        """Direction of the line through the fingers, radians from the world's x axis."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


class Scene:
    """One task's geometry in the state that :meth:`update` was last given."""

    def __init__(self, task: LiberoTask, fixture_seed: int = 0) -> None:
        """Load the task's compiled model, which native engines of the same task share."""
        self.model = load_bundle(task, fixture_seed).model
        self._data = mujoco.MjData(self.model)
        self._fingers = [int(self.model.joint(name).id) for name in FINGERS]

    def update(self, state: SimState) -> None:
        """Compute the kinematics of another state.

        Raises :class:`ValueError` if the state is of another task or its fixtures stand elsewhere.
        """
        if len(state.qpos) != self.model.nq or not np.allclose(state.body_pos, self.model.body_pos):
            raise ValueError(
                "state: expected a state of the expert's task with its fixtures at the same places, got "
                "another; make the expert for the environment's task and fixture_seed"
            )
        self._data.qpos[:] = state.qpos
        self._data.qvel[:] = state.qvel
        mujoco.mj_kinematics(self.model, self._data)

    @property
    def gripper(self) -> Gripper:
        """The hand in the present state."""
        positions, velocities = zip(*(self._joint(joint) for joint in self._fingers), strict=True)
        site = self.model.site(END_EFFECTOR).id
        return Gripper(
            pos=self._data.site_xpos[site].copy(),
            rotation=self._data.site_xmat[site].reshape(3, 3).copy(),
            gap=positions[0] - positions[1],
            speed=max(abs(velocity) for velocity in velocities),
        )

    @property
    def base(self) -> NDArray[np.float64]:
        """``[3]`` position of the robot's base, metres, world frame."""
        return self.pose(self.body("robot0_base"))[0]

    def has_site(self, name: str) -> bool:
        """Whether the task's model has a site of this name."""
        return mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, name) >= 0

    def site(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """A site's position ``[3]``, axes ``[3, 3]`` (columns) and half sizes ``[3]``."""
        site = self.model.site(name).id
        return (
            self._data.site_xpos[site].copy(),
            self._data.site_xmat[site].reshape(3, 3).copy(),
            self.model.site_size[site].copy(),
        )

    def slides(self, site: str) -> bool:
        """Whether a site belongs to a part that a slide or hinge joint moves, such as a drawer."""
        body = self.model.site_bodyid[self.model.site(site).id]
        types = self.model.jnt_type[self.model.jnt_bodyid == body]
        return bool((types != mujoco.mjtJoint.mjJNT_FREE).any())

    def body(self, name: str) -> int:
        """A body's id."""
        return int(self.model.body(name).id)

    def pose(self, body: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A body's position ``[3]`` and axes ``[3, 3]`` (columns)."""
        return self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy()

    def outline(self, body: int) -> NDArray[np.float64]:
        """Corners ``[n, 3]`` of a body's collision geoms, metres, world frame."""
        position, rotation = self.pose(body)
        return position + _outline(self.model, body) @ rotation.T

    def solid(self, bodies: Sequence[int]) -> NDArray[np.float64]:
        """Points ``[n, 3]`` that fill the collision geoms of bodies, metres, world frame."""
        points = [np.zeros((0, 3))]
        for body in bodies:
            position, rotation = self.pose(body)
            points.append(position + _solid(self.model, body) @ rotation.T)
        return np.concatenate(points)

    @functools.cached_property
    def obstacles(self) -> tuple[int, ...]:
        """Ids of all bodies with collision geoms, except those of the robot and of the world body."""
        return tuple(
            body
            for body in range(self.model.nbody)
            if len(_geoms(self.model, body))
            and not self.model.body(body).name.startswith(("robot0", "gripper0", "mount0", "world"))
        )

    def _joint(self, joint: int) -> tuple[float, float]:
        position = self._data.qpos[self.model.jnt_qposadr[joint]]
        return float(position), float(self._data.qvel[self.model.jnt_dofadr[joint]])


SPACING = 0.02
"""Distance between the points that fill a solid, metres: less than the width of a finger."""


@functools.lru_cache(maxsize=4096)
def _outline(model: mujoco.MjModel, body: int) -> NDArray[np.float64]:
    """Corners ``[n, 3]`` of a body's collision geoms in its own frame."""
    return np.concatenate(
        [np.zeros((0, 3)), *(_in_body(model, geom, _corners(model, geom)) for geom in _geoms(model, body))]
    )


@functools.lru_cache(maxsize=4096)
def _solid(model: mujoco.MjModel, body: int) -> NDArray[np.float64]:
    """Points ``[n, 3]`` that fill the bounding boxes of a body's collision geoms, in its own frame."""
    points = [np.zeros((0, 3))]
    for geom in _geoms(model, body):
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        axes = [np.linspace(-size, size, 2 + int(2 * size / SPACING)) for size in half]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
        points.append(_in_body(model, geom, centre + grid))
    return np.concatenate(points)


def _geoms(model: mujoco.MjModel, body: int) -> NDArray[np.int64]:
    """Ids of a body's collision geoms; planes are left out."""
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    bounded = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
    return np.flatnonzero((model.geom_bodyid == body) & solid & bounded)


def _in_body(model: mujoco.MjModel, geom: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform points from a geom's frame to its body's frame."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    return model.geom_pos[geom] + points @ rotation.reshape(3, 3).T


def _corners(model: mujoco.MjModel, geom: int) -> NDArray[np.float64]:
    """A mesh's vertices, or the corners of another shape's bounding box, in the geom's frame."""
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        start = model.mesh_vertadr[mesh]
        return np.asarray(model.mesh_vert[start : start + model.mesh_vertnum[mesh]], dtype=np.float64)
    signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3), axis=-1).reshape(-1, 3)
    return model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]
