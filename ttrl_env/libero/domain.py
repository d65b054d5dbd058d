"""The environment behind :class:`~ttrl_env.libero.control_env.ControlEnv`: what LIBERO calls ``env.env``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.engines.interface import ACTION_DIM, CONTROL_FREQ_HZ
from ttrl_env.libero.observation import Observation, Reading
from ttrl_env.libero.painting import Open, thread_pool
from ttrl_env.libero.robots import Robot, Sim, not_covered
from ttrl_env.libero.shared_task import open_task
from ttrl_env.libero.simulation import Simulation
from ttrl_env.libero.warnings import DivergedWarning

Step: TypeAlias = tuple[Observation, float, bool, dict[str, Any]]
"""Observation, reward (1.0 while the goal holds, else 0.0), whether it holds, and an empty dictionary."""


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """The settings of an environment that the native engine covers."""

    bddl_file: str
    """Path of the task's definition."""
    cameras: tuple[str, ...]
    """Cameras of the observations, in order."""
    image_size: int
    """Height and width of the images, pixels."""
    renders: bool
    """Whether LIBERO would make a renderer: it computes the kinematics once more in each reset."""
    horizon: int
    """Number of steps after which the next one raises ``ValueError``."""
    ignore_done: bool
    """Whether to step on after the horizon."""


class NativeDomain:
    """LIBERO's ``BDDLBaseDomain`` on the native engine: the same draws, states, rewards and observations.

    Every reset draws from NumPy's global generator what LIBERO's draws. It takes milliseconds, because the
    model is not built anew.
    """

    control_freq = CONTROL_FREQ_HZ
    action_dim = ACTION_DIM

    def __init__(self, config: DomainConfig) -> None:
        """Open the task, and draw what LIBERO draws while it builds an environment."""
        self.config = config
        self._shared = open_task(config.bddl_file)
        self._open = Open(self._shared.bundle)
        self._simulation = Simulation(self._shared, config.renders)
        self._num_built = 0
        self._was_reset = False
        self._reading: Reading | None = None
        self.timestep = 0
        self.done = False
        self.horizon, self.ignore_done = config.horizon, config.ignore_done
        problem = self._shared.scene.problem
        self.parsed_problem: dict[str, Any] = problem.parsed_problem
        self.obj_of_interest: Sequence[str] = problem.obj_of_interest
        self.bddl_file_name = config.bddl_file
        self.robots = [Robot(self._simulation)]
        self.sim = Sim(self._simulation)
        self._build()

    def seed(self, seed: int | None) -> None:
        """Seed NumPy's global generator."""
        np.random.seed(seed)

    def reset(self) -> Observation:
        """Place objects and fixtures anew and return the first observation.

        Raises robosuite's ``RandomizationError`` if the objects overlap in every attempt.
        """
        self._build()
        self._simulation.forward()
        self._was_reset = True
        self._update_observables(force=True)
        return self._get_observations()

    def step(self, action: ArrayLike) -> Step:
        """Run one control step of ``action`` ``[7]``: position (3), rotation (3), gripper; in [-1, 1].

        Raises ``ValueError`` after the horizon, and ``AssertionError`` for an action of another length.
        """
        return self._advance(self._checked(action))

    def start_step(self, action: ArrayLike) -> Future[Step]:
        """As :meth:`step`, in a thread of the engine; returns a future."""
        checked = self._checked(action)
        pool = thread_pool(self.config.image_size)
        return pool.start([lambda renderer: self._advance(checked)], [range(pool.num_threads)])[0]

    def close(self) -> None:
        """Free the simulation; observations that were returned can still be read."""
        self._open.close()

    def _build(self) -> None:
        """Draw places as LIBERO does when it builds its model, of which it makes a new one in each reset.

        Each time, LIBERO adds another sampler of every drawer's position to the list it draws from.
        """
        simulation = self._simulation
        self.timestep, self.done = 0, False
        self._num_built += 1
        simulation.rebuild()
        for _ in range(self._num_built):
            simulation.articulate()
        simulation.place_objects()
        simulation.restart_memory()

    def _checked(self, action: ArrayLike) -> NDArray[np.float64]:
        """The action as an array, after the step has been counted."""
        if self.done:
            raise ValueError("executing action in terminated episode")
        self.timestep += 1
        array = np.array(action, dtype=np.float64)
        assert len(array) == ACTION_DIM, (
            f"environment got invalid action dimension -- expected {ACTION_DIM}, got {len(array)}"
        )
        return array

    def _advance(self, action: NDArray[np.float64]) -> Step:
        success, divergence = self._simulation.step(action)
        if divergence is not None:
            warnings.warn(
                f"{self.config.bddl_file}: the simulation {divergence}; reset the environment",
                DivergedWarning,
                stacklevel=2,
            )
        self.done = self.timestep >= self.horizon and not self.ignore_done
        self._reading = None
        return self._get_observations(), float(success), success, {}

    def _check_success(self) -> bool:
        """Whether the goal holds."""
        return self._simulation.goal_holds()

    def _post_process(self) -> None:
        """Make the burners' colours follow their knobs."""
        self._simulation.update_burners()

    def _update_observables(self, force: bool = False) -> None:
        """Measure anew for the next observation."""
        if not force:
            raise NotImplementedError(
                "_update_observables: ttrl_env.libero updates observations inside its steps, and outside "
                "only with force=True"
            )
        self._simulation.take_sample()
        self._reading = None

    def _get_observations(self, force_update: bool = False) -> Observation:
        """The observation that was measured last."""
        if force_update:
            self._update_observables(force=True)
        if self._reading is None:
            sample, config = self._simulation.sample(), self.config
            self._reading = Reading(self._shared, sample, config.cameras, config.image_size, self._was_reset)
        return Observation(self._reading)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what is not covered, by name."""
        raise not_covered("env", name)
