"""Where everything is: a task's kinematics, computed from the simulator's state.

Experts reason about objects, not about arrays. A :class:`Scene` holds the task's compiled model and
answers questions of geometry for one state at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import SimState
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.tasks import Task

END_EFFECTOR = "gripper0_grip_site"
"""The site that LIBERO's controller moves: its x axis is the fingers', its z axis points out of the hand."""

FINGERS = ("gripper0_finger_joint1", "gripper0_finger_joint2")


class Gripper(NamedTuple):
    """The hand's state."""

    pos: NDArray[np.float64]
    """``[3]`` the point between the fingers, metres, world frame."""
    rotation: NDArray[np.float64]
    """``[3, 3]`` its axes in the world frame, as columns: along the fingers, across them, out of the hand."""
    gap: float
    """Distance between the fingers, metres: 0.08 when open, measured from one substep ago."""
    speed: float
    """How fast they move, metres a second: the faster of the two."""

    @property
    def yaw(self) -> float:
        """Direction of the line through the fingers, radians from the world's x axis."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))


class Scene:
    """One task's geometry. :meth:`update` says of which state; everything else refers to that one."""

    def __init__(self, task: Task, fixture_seed: int = 0) -> None:
        """Open the task's compiled model (shared with a native engine that plays the same task)."""
        self.model = load_bundle(task, fixture_seed).model
        self._data = mujoco.MjData(self.model)
        self._fingers = [int(self.model.joint(name).id) for name in FINGERS]

    def update(self, state: SimState) -> None:
        """Look at another state.

        Raises :class:`ValueError` if its fixtures are not where this scene's are.
        """
        if len(state.qpos) != self.model.nq or not np.allclose(state.body_pos, self.model.body_pos):
            raise ValueError(
                "state: it is not of the expert's task, or its fixtures stand elsewhere; make the expert "
                "for the environment's task and fixture_seed"
            )
        self._data.qpos[:] = state.qpos
        self._data.qvel[:] = state.qvel
        mujoco.mj_kinematics(self.model, self._data)

    @property
    def gripper(self) -> Gripper:
        """The hand."""
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
        """``[3]`` where the robot stands, metres, world frame."""
        return self.pose(self.body("robot0_base"))[0]

    def has_site(self, name: str) -> bool:
        """Whether the task has such a site."""
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
        """Whether a site is on a part that a slide or hinge moves, as a drawer's inside is."""
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
        """Corners ``[n, 3]``, in the world, of the shapes that a body collides with."""
        position, rotation = self.pose(body)
        return position + _outline(self.model, body) @ rotation.T

    def solid(self, bodies: Sequence[int]) -> NDArray[np.float64]:
        """Points ``[n, 3]``, in the world, that fill bodies: what not to bump into."""
        points = [np.zeros((0, 3))]
        for body in bodies:
            position, rotation = self.pose(body)
            points.append(position + _solid(self.model, body) @ rotation.T)
        return np.concatenate(points)

    @functools.cached_property
    def obstacles(self) -> tuple[int, ...]:
        """Every body that can be bumped into: all that collide, but for the robot and the furniture."""
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
"""Distance between the points that stand for a solid, metres: closer than a finger is wide."""


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
    """The geoms that a body collides with; planes are left out."""
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    bounded = model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
    return np.flatnonzero((model.geom_bodyid == body) & solid & bounded)


def _in_body(model: mujoco.MjModel, geom: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of a geom's frame in its body's."""
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
