"""The skill that picks an object up and puts it on or into something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.grasps import choose_grasp
from ttrl_env.demonstrations.experts.motion import (
    CLOSE_GRIPPER,
    OPEN_GRIPPER,
    down_rotation,
    make_action,
    turn_between,
)
from ttrl_env.demonstrations.experts.scene import Gripper, Scene
from ttrl_env.demonstrations.experts.travel import GAIN, travel
from ttrl_env.engines.interface import SimState

OPEN_GAP, ALMOST_OPEN_GAP = 0.076, 0.072
"""Distances between the fingers, metres, from which they count as open and as almost open. Until they are
almost open, the hand stays above the object."""

STILL = 0.02
"""Speed of the fingers, metres a second, below which they count as stopped."""

ARRIVED, ARRIVED_UP, ARRIVED_TURN = 0.012, 0.009, 0.15
"""Horizontal and vertical distance (metres) and angle (radians) to the grasp below which the fingers close.
Closing fingers centre the object between them, so the grasp need not be exact."""

MISALIGNED = 0.25
"""Angle to the grasp's direction, radians, above which the hand stays above the object while it turns."""


class PickPlace:
    """Grasps an object from above, carries it over all obstacles, lowers it and lets go."""

    def __init__(self, scene: Scene, item: str, target: str, *, inside: bool = False) -> None:
        """Make the skill for one object and its destination.

        Args:
            scene: the task's geometry.
            item: name of the object to move.
            target: name of the object or region that it should be on or in.
            inside: the object goes into a container, so the palm need not fit where it is released.
        """
        self._scene = scene
        self._body = scene.body(f"{item}_main")
        self._target = target
        self._inside = inside
        self._others = [obstacle for obstacle in scene.obstacles if obstacle != self._body]

    def act(self, observation: Mapping[str, NDArray[Any]], state: SimState) -> NDArray[np.float32]:
        """See :meth:`ttrl_env.demonstrations.experts.Expert.act`."""
        self._scene.update(state)
        gripper = self._scene.gripper
        points = self._scene.outline(self._body)
        others = self._scene.solid(self._others)
        goal, tolerance = self._place()
        between = _between_fingers(self._scene.solid([self._body]), gripper)
        over_goal = bool(np.all(np.abs(goal[:2] - self._scene.pose(self._body)[0][:2]) < tolerance))
        lowered = points[:, 2].min() < goal[2] + 0.01
        if over_goal and lowered:
            return self._let_go(gripper)
        if between and gripper.gap < OPEN_GAP:
            if gripper.speed < STILL:
                return self._carry(gripper, points, others, goal)
            return self._hold(gripper, np.zeros(3))
        return self._approach(gripper, points, others, goal)

    def _approach(
        self,
        gripper: Gripper,
        points: NDArray[np.float64],
        others: NDArray[np.float64],
        goal: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        move = goal - np.array([*self._scene.pose(self._body)[0][:2], points[:, 2].min()])
        grasp = choose_grasp(points, gripper, others, self._scene.base, None if self._inside else move)
        wanted = down_rotation(grasp.yaw)
        turn = turn_between(gripper.rotation, wanted)
        off = grasp.pos - gripper.pos
        misaligned = float(np.linalg.norm(turn))
        if np.linalg.norm(off[:2]) < ARRIVED and abs(off[2]) < ARRIVED_UP and misaligned < ARRIVED_TURN:
            return self._hold(gripper, GAIN * off)
        hand_goal = grasp.pos.copy()
        if gripper.gap < ALMOST_OPEN_GAP or misaligned > MISALIGNED:
            hand_goal[2] = max(hand_goal[2], points[:, 2].max() + 0.03)
        obstacles = np.concatenate([others, points])
        step = travel(gripper.pos, hand_goal, obstacles, radius=0.03, below=0.012)
        return make_action(step, turn, OPEN_GRIPPER)

    def _hold(self, gripper: Gripper, step: NDArray[np.float64]) -> NDArray[np.float32]:
        return make_action(step, _level(gripper), CLOSE_GRIPPER)

    def _let_go(self, gripper: Gripper) -> NDArray[np.float32]:
        up = 0.05 if gripper.gap > OPEN_GAP else 0.0
        return make_action(np.array([0.0, 0.0, up]), _level(gripper), OPEN_GRIPPER)

    def _carry(
        self,
        gripper: Gripper,
        points: NDArray[np.float64],
        others: NDArray[np.float64],
        goal: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        lowest = points[:, 2].min()
        centre = self._scene.pose(self._body)[0]
        hand_goal = np.array([*(goal[:2] - centre[:2] + gripper.pos[:2]), goal[2] + gripper.pos[2] - lowest])
        radius = float(np.linalg.norm(np.ptp(points[:, :2], axis=0))) / 2
        step = travel(
            gripper.pos, hand_goal, others, radius=radius, below=gripper.pos[2] - lowest, arrival=0.02
        )
        return make_action(step, _level(gripper), CLOSE_GRIPPER)

    def _place(self) -> tuple[NDArray[np.float64], float]:
        """Target of the object's origin (x, y) and lowest point (z), and the tolerance in x and y, metres."""
        if self._scene.has_site(self._target):
            pos, rotation, size = self._scene.site(self._target)
            low = pos[2] - np.abs(rotation @ size)[2]
            return np.array([pos[0], pos[1], low]), 0.02
        return self._scene.pose(self._scene.body(f"{self._target}_main"))[0], 0.015


def _between_fingers(points: NDArray[np.float64], gripper: Gripper) -> bool:
    along, across, out = ((points - gripper.pos) @ gripper.rotation).T
    inside = (np.abs(along) < gripper.gap / 2 + 0.004) & (np.abs(across) < 0.012) & (np.abs(out) < 0.012)
    return bool(inside.any())


def _level(gripper: Gripper) -> NDArray[np.float64]:
    """The rotation that makes the hand point straight down and keeps the direction of its fingers."""
    return turn_between(gripper.rotation, down_rotation(gripper.yaw))
