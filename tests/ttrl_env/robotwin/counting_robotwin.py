"""The counting engine with RoboTwin's observations: every number that it returns can be predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.contract.counting_engine import CountingEngine
from ttrl_env.robotwin.config import RoboTwinConfig


@dataclass
class CountingRoboTwin(CountingEngine):
    """``joint_state`` starts with the task, the initial state and the count."""

    config: Any  # a RoboTwinConfig

    def __post_init__(self) -> None:
        self.observations = {key: np.zeros(shape, dtype) for key, shape, dtype in self.config.layout()}
        self.count = [0] * self.config.num_rows
        self.start = [(-1, -1)] * self.config.num_rows
        self.calls = []
        self.closed = 0
        self.instructions = [""] * self.config.num_rows
        self.seeds = np.full(self.config.num_rows, -1, np.int64)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        super().reset(rows, task_ids, init_state_ids)
        for row, task_id, state in zip(rows, task_ids, init_state_ids, strict=True):
            self.instructions[row] = f"task {task_id} in state {state}"
            self.seeds[row] = 100_000 + state

    def _publish(self, row: int, action: NDArray) -> None:
        for camera in self.config.cameras:
            self.observations[f"{camera}_image"][row] = self.count[row]
        self.observations["joint_state"][row, :3] = (*self.start[row], self.count[row])


def counting_robotwin(
    success_at: Mapping[int, int] | None = None, failure_at: Mapping[int, int] | None = None
) -> Callable[[RoboTwinConfig], CountingRoboTwin]:
    """The ``engine`` argument that makes a :class:`CountingRoboTwin`."""
    return lambda config: CountingRoboTwin(config, success_at or {}, failure_at or {})
