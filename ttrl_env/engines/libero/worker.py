"""A worker process of the upstream engine, with the LIBERO environments of some of its rows.

Started by :mod:`ttrl_env.engines.libero.engine` with the arguments ``CONNECTION_FD MEMORY_FD PARENT_PID``.
It reads ``(method, arguments)`` from the connection and writes observations into the shared memory. It
answers ``("ok", result)`` or ``("error", traceback)``. It ends when the connection is closed, and within a
second after its parent has ended, even if it is busy.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines.interface import EngineConfig, Observations, SimState
from ttrl_env.engines.observations import attach

if TYPE_CHECKING:
    from ttrl_env.engines.libero.environment import LiberoSimulation

StepAnswer: TypeAlias = "tuple[int, bool, str | None]"
"""Executed steps, success and failure of one row."""


class Rows:
    """The environments of some rows, each built when its row first plays a task.

    Each method takes rows and, for each further argument, a sequence with one entry a row. It returns one
    result a row.
    """

    def __init__(self, config: EngineConfig, observations: Observations) -> None:
        """Serve rows of an engine; their observations are written into ``observations``."""
        self._config = config
        self._observations = observations
        self._simulations: dict[int, LiberoSimulation] = {}
        self.doing = "starting"
        """Description of the current operation, for the error message if it fails."""

    def reset(
        self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]
    ) -> list[None]:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.reset`."""
        for row, task_id, init_state_id in zip(rows, task_ids, init_state_ids, strict=True):
            self.doing = f"resetting row {row} to {self._config.suite} task {task_id}, state {init_state_id}"
            self._simulation(row, task_id).reset(init_state_id)
            self._publish(row)
        return [None] * len(rows)

    def step(
        self, rows: Sequence[int], actions: Sequence[NDArray[np.float64]], max_steps: Sequence[int]
    ) -> list[StepAnswer]:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.step`."""
        answers = []
        for row, chunk, limit in zip(rows, actions, max_steps, strict=True):
            simulation = self._simulations[row]
            self.doing = f"stepping row {row} ({self._config.suite} task {simulation.task.task_id})"
            answers.append(simulation.step(chunk, limit))
            self._publish(row)
        return answers

    def state(self, rows: Sequence[int]) -> list[SimState]:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.state`."""
        self.doing = f"reading the state of rows {list(rows)}"
        return [self._simulations[row].state() for row in rows]

    def close(self) -> None:
        """Close every environment."""
        for simulation in self._simulations.values():
            simulation.close()
        self._simulations.clear()

    def _simulation(self, row: int, task_id: int) -> LiberoSimulation:
        """The row's environment, rebuilt if it last played another task."""
        from ttrl_env.engines.libero.environment import LiberoSimulation  # slow: imports MuJoCo and robosuite

        simulation = self._simulations.get(row)
        if simulation is None or simulation.task.task_id != task_id:
            if simulation is not None:
                self._simulations.pop(row).close()  # one environment takes over a gigabyte
            simulation = self._simulations[row] = LiberoSimulation(
                libero_tasks.get_task(self._config.suite, task_id), self._config
            )
        return simulation

    def _publish(self, row: int) -> None:
        for key, value in self._simulations[row].observation.items():
            self._observations[key][row] = value


def serve(connection: Connection, memory_fd: int) -> None:
    """Answer requests until the parent closes the connection."""
    config: EngineConfig = connection.recv()
    rows = Rows(config, attach(config, memory_fd))
    methods: dict[str, Callable[..., Any]] = {"reset": rows.reset, "step": rows.step, "state": rows.state}
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer = ("ok", methods[method](*arguments))
        except Exception:  # noqa: BLE001  reported in full to the parent, which raises it
            answer = ("error", f"while {rows.doing}:\n{traceback.format_exc()}")
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def _end_with_parent(parent_pid: int) -> None:
    """End this process once its parent has ended, even during a simulation.

    A closed connection is not a reliable sign: processes that the parent forked may hold it open.
    """
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Run a worker process; its arguments come from the command line."""
    threading.Thread(target=_end_with_parent, args=(int(sys.argv[3]),), daemon=True).start()
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # robosuite's GL contexts raise when the interpreter tears them down
