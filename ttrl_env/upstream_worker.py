"""A worker process of the upstream engine: owns some rows' LIBERO environments.

Started as ``python -m ttrl_env.upstream_worker CONNECTION_FD MEMORY_FD`` by :mod:`ttrl_env.upstream`.
It reads ``(method, arguments)`` from the connection, writes observations straight into the shared
memory and answers ``("ok", result)`` or ``("error", traceback)``. It ends when the connection does,
so it never outlives its parent.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.shared_arrays import attach
from ttrl_env.simulation import EngineConfig, Observations, SimState

if TYPE_CHECKING:
    from ttrl_env.upstream_world import UpstreamWorld

StepAnswer = list[tuple[int, bool, "str | None"]]
"""Per row: executed steps, success, failure."""


class Rows:
    """The environments of some rows, built when a row first plays a task."""

    def __init__(self, config: EngineConfig, observations: Observations) -> None:
        self._config = config
        self._observations = observations
        self._worlds: dict[int, UpstreamWorld] = {}
        self.doing = "starting"
        """What is being done, for the report should it fail."""

    def reset(self, rows: list[int], task_ids: list[int], init_state_ids: list[int]) -> None:
        """See :meth:`ttrl_env.simulation.SimulationEngine.reset`."""
        for row, task_id, init_state_id in zip(rows, task_ids, init_state_ids, strict=True):
            self.doing = f"resetting row {row} to {self._config.suite} task {task_id}, state {init_state_id}"
            self._world(row, task_id).reset(init_state_id)
            self._publish(row)

    def step(self, rows: list[int], actions: NDArray[np.float64], max_steps: list[int]) -> StepAnswer:
        """See :meth:`ttrl_env.simulation.SimulationEngine.step`."""
        answers = []
        for row, chunk, limit in zip(rows, actions, max_steps, strict=True):
            world = self._worlds[row]
            self.doing = f"stepping row {row} ({self._config.suite} task {world.task.task_id})"
            answers.append(world.step(chunk, limit))
            self._publish(row)
        return answers

    def state(self, row: int) -> SimState:
        """See :meth:`ttrl_env.simulation.SimulationEngine.state`."""
        return self._worlds[row].state()

    def close(self) -> None:
        """Close every environment."""
        for world in self._worlds.values():
            world.close()
        self._worlds.clear()

    def _world(self, row: int, task_id: int) -> UpstreamWorld:
        """The row's environment, rebuilt if it last played another task."""
        from ttrl_env.upstream_world import UpstreamWorld  # imports MuJoCo and robosuite: seconds

        world = self._worlds.get(row)
        if world is None or world.task.task_id != task_id:
            if world is not None:
                self._worlds.pop(row).close()  # one environment takes over a gigabyte
            world = self._worlds[row] = UpstreamWorld(
                tasks.get_task(self._config.suite, task_id), self._config
            )
        return world

    def _publish(self, row: int) -> None:
        for key, value in self._worlds[row].observation.items():
            self._observations[key][row] = value


def serve(connection: Connection, memory_fd: int) -> None:
    """Answer requests until the parent closes the connection."""
    config: EngineConfig = connection.recv()
    rows = Rows(config, attach(config, memory_fd))
    methods: dict[str, Callable[..., Any]] = {"reset": rows.reset, "step": rows.step, "state": rows.state}
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = ("ok", methods[method](*arguments))
        except Exception:  # noqa: BLE001  reported in full to the parent, which raises it
            answer = ("error", f"while {rows.doing}:\n{traceback.format_exc()}")
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # robosuite's GL contexts raise when the interpreter tears them down
