"""The skill that pushes the top drawer of LIBERO's cabinets shut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.motion import METRES_PER_UNIT, OPEN_GRIPPER, make_action
from ttrl_env.engines.interface import SimState


@dataclass(frozen=True, kw_only=True)
class CloseTopDrawer:
    """Pushes the top drawer of LIBERO's wooden or white cabinet shut with one finger of the open gripper.

    The gripper points down; the line through its fingers is parallel to the drawer's travel. It first moves
    to a line in front of the panel, above the handle. The line is low enough for the finger to catch the
    panel, and high enough for the hand to pass over the cabinet's top. Along it, it pushes at full speed.

    Lengths are metres in the cabinet's frame, whose origin is the body ``<cabinet>_main``. Its axes are
    ``lateral`` (along the front), ``outward`` (the direction in which the drawer opens) and ``up``.
    """

    panel_outward: float = 0.078
    """Outer face of the front panel when the drawer's joint is at 0."""
    panel_top: float = 0.217
    """Upper edge of the front panel."""
    finger_thickness: float = 0.025
    """A finger's outer face is this plus its joint's position away from the end effector."""
    finger_down: float = 0.010
    """How far the fingers reach below the end effector."""
    push_up: float = 0.208
    """Height of the end effector while pushing. The finger overlaps the panel below 0.227; the hand
    clears the cabinet's top (0.223) above 0.195."""
    push_lateral: float = 0.075
    """Largest lateral distance from the panel's middle at which it pushes; the panel ends at 0.109."""
    lateral_tolerance: float = 0.015
    up_tolerance: float = 0.008
    """Within these distances of its line it pushes at full speed; at twice as much it does not push."""
    standoff: float = 0.015
    """Gap between finger and panel that it keeps while it moves to its line."""
    climb: float = 0.03
    """Height above the panel to which it lifts the fingers when they have to get out from behind it."""
    gain: float = 2.0
    """Factor on the distance to its line: it aims further than the line. The controller pulls like a spring,
    so its force fades close to the target, and pushing lifts the hand."""

    def act(self, observation: Mapping[str, NDArray[Any]], state: SimState) -> NDArray[np.float32]:
        """See :meth:`ttrl_env.demonstrations.experts.Expert.act`."""
        drawer, cabinet, rotation = _drawer(state)
        lateral, inward, up = rotation.T @ (np.asarray(observation["robot0_eef_pos"], np.float64) - cabinet)
        joint = (rotation.T @ (drawer - cabinet))[1]
        finger = np.abs(observation["robot0_gripper_qpos"]).min()  # the pushing finger is pressed inwards
        gap = -inward - self.finger_thickness - finger - (self.panel_outward - joint)
        down = _rotation_to_straight_down(observation["robot0_eef_quat"])
        return make_action(rotation @ self._move(lateral, gap, up), down, OPEN_GRIPPER)

    def _move(self, lateral: float, gap: float, up: float) -> NDArray[np.float64]:
        """The displacement to aim for in the cabinet's frame: lateral, inward, up.

        ``gap`` is the distance from the finger to the panel; negative if the finger is behind it.
        """
        over_panel = up - self.finger_down - self.panel_top
        if gap < -self.standoff:  # behind the panel: lift first, then move out over it
            out = self.standoff - gap if over_panel > 0.0 else 0.0
            return np.array([0.0, -out, self.gain * (self.climb - over_panel)])
        to_line = np.array(
            [np.clip(lateral, -self.push_lateral, self.push_lateral) - lateral, self.push_up - up]
        )
        off_line = np.abs(to_line / [self.lateral_tolerance, self.up_tolerance]).max()
        push = np.clip(2.0 - off_line, 0.0, 1.0)
        inward = push * METRES_PER_UNIT + (1.0 - push) * (gap - self.standoff)
        return np.array([self.gain * to_line[0], inward, self.gain * to_line[1]])


def _drawer(state: SimState) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """World positions of the top drawer and of its cabinet, and the cabinet's rotation to the world."""
    suffix = "_cabinet_top"
    drawers = [name for name in state.body_names if name.endswith(suffix)]
    if len(drawers) != 1:
        raise ValueError(f"state: expected one body named '<cabinet>{suffix}', got {drawers}")
    cabinet = state.body_names.index(f"{drawers[0].removesuffix(suffix)}_main")
    drawer = state.body_names.index(drawers[0])
    # Fixtures are children of the world body, so body_quat is in the world frame.
    return state.body_xpos[drawer], state.body_xpos[cabinet], _rotation_matrix(state.body_quat[cabinet])


def _rotation_matrix(quat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix ``[3, 3]`` of a unit quaternion (wxyz)."""
    w, x, y, z = quat
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _rotation_to_straight_down(eef_quat: NDArray[Any]) -> NDArray[np.float64]:
    """Rotation vector (radians, world frame) from an orientation (xyzw) to the one pointing straight down.

    Straight down is a half turn about x, the quaternion (1, 0, 0, 0): LIBERO's robots start there.
    """
    x, y, z, w = np.asarray(eef_quat, dtype=np.float64)
    vector, scalar = np.array([w, z, -y]), x  # (1, 0, 0, 0) times the conjugate of (x, y, z, w)
    if scalar < 0:
        vector, scalar = -vector, -scalar  # the shorter way round
    sine = float(np.linalg.norm(vector))
    return vector * (2.0 * np.arctan2(sine, scalar) / max(sine, 1e-12))
