"""The skill that turns a stove on: it pushes the ridge of the knob with the closed fingers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.motion import (
    CLOSE_GRIPPER,
    METRES_PER_UNIT,
    down_rotation,
    make_action,
    turn_between,
)
from ttrl_env.demonstrations.experts.scene import Scene
from ttrl_env.demonstrations.experts.travel import GAIN
from ttrl_env.engines.interface import SimState


@dataclass(frozen=True, kw_only=True)
class TurnKnobOn:
    """Lowers the fingers beside the end of the knob's ridge and pushes the ridge round.

    Lengths are metres in the knob's own frame, which turns with it. ``x`` points across the ridge, against
    the direction in which it turns, ``y`` along the ridge, ``z`` up.
    """

    scene: Scene
    knob: int
    """Id of the knob's body."""
    beside: float = 0.042
    """x at which the fingers go down: the ridge's side is at 0.013, the fingers extend 0.011 to each side."""
    along: float = 0.04
    """y at which they push; the ridge ends at 0.052."""
    height: float = 0.04
    """z of the point between the fingers: the tips, 0.012 lower, clear the burner and catch the ridge."""
    clearance: float = 0.085
    """z at which they pass over the ridge."""
    tolerance: float = 0.012
    """Largest error in x or y at which the fingers go down; pushing allows twice as much in y."""

    def act(self, observation: Mapping[str, NDArray[Any]], state: SimState) -> NDArray[np.float32]:
        """See :meth:`ttrl_env.demonstrations.experts.Expert.act`."""
        self.scene.update(state)
        gripper = self.scene.gripper
        centre, rotation = self.scene.pose(self.knob)
        x, y, z = rotation.T @ (gripper.pos - centre)
        yaw = float(np.arctan2(rotation[1, 1], rotation[0, 1]))  # fingers along the ridge
        wanted = min((yaw, yaw + np.pi), key=lambda angle: abs(np.angle(np.exp(1j * (angle - gripper.yaw)))))
        step = rotation @ self._move(x, y, z)
        return make_action(step, turn_between(gripper.rotation, down_rotation(wanted)), CLOSE_GRIPPER)

    def _move(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """The displacement to aim for in the knob's frame."""
        off_line = abs(y - self.along)
        low = z < self.height + 0.015
        if low and 0.0 < x < self.beside + 0.03 and off_line < 2 * self.tolerance:
            return np.array([-METRES_PER_UNIT, GAIN * (self.along - y), GAIN * (self.height - z)])
        to_side = np.array([self.beside - x, self.along - y])
        above = float(np.abs(to_side).max()) < self.tolerance
        height = self.height if above else max(self.clearance, min(z, self.clearance + 0.1))
        if not above and z < self.clearance - 0.01:  # lift first
            to_side = np.zeros(2)
        return np.array([*(GAIN * to_side), GAIN * (height - z)])
