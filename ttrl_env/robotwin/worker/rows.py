"""The simulations of a worker's rows, each made at its row's first reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .interface import Settings, Simulation, UnstableSeedError


class Rows:
    """Plays some rows of an engine. Each method takes one job, and returns what the parent is told of it."""

    def __init__(
        self,
        make_simulation: Callable[[Settings], Simulation],
        settings: Settings,
        observations: dict[str, NDArray[Any]],
    ) -> None:
        """Write the rows' observations into ``observations``, arrays of all rows of the engine."""
        self._make_simulation = make_simulation
        self._settings = settings
        self._observations = observations
        self._simulations: dict[int, Simulation] = {}
        self._playing: dict[int, str] = {}
        self._unstable: dict[tuple[str, int], str] = {}
        self.doing = "starting"
        """What is going on, for the message if it fails."""

    def reset(self, row: int, task: str, seed: int) -> dict[str, Any]:
        """Begin an episode; an unstable seed is reported, and not tried again for a worker's other rows."""
        self._playing[row] = f"row {row}: {task}, seed {seed}"
        self.doing = f"resetting {self._playing[row]}"
        if (task, seed) not in self._unstable:
            if row not in self._simulations:
                self._simulations[row] = self._make_simulation(self._settings)
            try:
                start = self._simulations[row].reset(task, seed)
            except UnstableSeedError as error:
                self._unstable[task, seed] = str(error) or "the runtime calls it unstable"
            else:
                self._publish(row)
                return asdict(start)
        return {"unstable": self._unstable[task, seed]}

    def step(self, row: int, actions: list[list[float]], max_steps: int) -> dict[str, Any]:
        """Execute a chunk of actions."""
        self.doing = f"stepping {self._playing[row]}"
        outcome = self._simulations[row].step(np.array(actions, np.float64), max_steps)
        self._publish(row)
        return {
            "executed_steps": int(outcome.executed_steps),
            "success": bool(outcome.success),
            "failure": outcome.failure,
        }

    def state(self, row: int) -> dict[str, Any]:
        """Read the physical state."""
        self.doing = f"reading the state of {self._playing[row]}"
        return asdict(self._simulations[row].state())

    def close(self) -> None:
        """Close every simulation."""
        for simulation in self._simulations.values():
            simulation.close()
        self._simulations.clear()

    def _publish(self, row: int) -> None:
        seen = self._simulations[row].observe()
        for key, array in self._observations.items():
            value = np.asarray(seen[key])
            if value.shape != array.shape[1:]:
                raise ValueError(f"{key}: expected shape {array.shape[1:]}, got {value.shape}")
            array[row] = value
