"""What LIBERO's users read of an environment's robot and simulator; everything else is refused by name."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ttrl_env.libero.simulation import Simulation
from ttrl_env.libero.upstream import MjSimState


class Controller:
    """The arm's operational-space controller, as far as it can be read; arrays are copies."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    @property
    def ee_pos(self) -> NDArray[np.float64]:
        """``[3]`` position of the end effector when the controller last measured it, metres."""
        return self._simulation.arm.eef_pos.copy()

    @property
    def ee_ori_mat(self) -> NDArray[np.float64]:
        """``[3, 3]`` orientation of the end effector when the controller last measured it."""
        return self._simulation.arm.eef_mat.copy()

    @property
    def joint_pos(self) -> NDArray[np.float64]:
        """``[7]`` positions of the arm's joints when the controller last measured them, rad."""
        return self._simulation.arm.joint_pos.copy()

    @property
    def joint_vel(self) -> NDArray[np.float64]:
        """``[7]`` velocities of the arm's joints when the controller last measured them, rad/s."""
        return self._simulation.arm.joint_vel.copy()

    @property
    def use_delta(self) -> bool:
        """Whether actions are displacements: always, as in every published LIBERO policy but a few."""
        return True

    @use_delta.setter
    def use_delta(self, value: bool) -> None:
        if not value:
            raise NotImplementedError(
                "controller.use_delta: absolute actions are not covered by ttrl_env.libero; make the "
                "environment with LIBERO's own class (ttrl_env.libero.uninstall())"
            )

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not covered, by name."""
        raise not_covered("robots[0].controller", name)


class Robot:
    """The robot of an environment."""

    def __init__(self, simulation: Simulation) -> None:
        self.controller = Controller(simulation)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not covered, by name."""
        raise not_covered("robots[0]", name)


class Sim:
    """The state of an environment's simulator."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def get_state(self) -> Any:
        """A copy of time, qpos and qvel, as robosuite's ``MjSimState``."""
        data = self._simulation.data
        return MjSimState(time=data.time, qpos=data.qpos.copy(), qvel=data.qvel.copy())

    def set_state(self, value: Any) -> None:
        """Overwrite time, qpos and qvel by those of an ``MjSimState``."""
        self.set_state_from_flattened(value.flatten())

    def set_state_from_flattened(self, value: NDArray[np.float64]) -> None:
        """Overwrite time, qpos and qvel by ``value`` ``[1 + nq + nv]``."""
        self._simulation.write(np.asarray(value))

    def forward(self) -> None:
        """Compute everything that follows from the state."""
        self._simulation.forward()

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not covered, by name."""
        raise not_covered("sim", name)


def not_covered(owner: str, name: str) -> AttributeError:
    """The error for an attribute of LIBERO's environments that there is not here."""
    return AttributeError(
        f"{owner}.{name} is not covered by ttrl_env.libero, which has no robosuite environment behind it; "
        f"code that needs it can use LIBERO's own class (ttrl_env.libero.uninstall())"
    )
