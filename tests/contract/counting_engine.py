"""A simulation engine that counts: every number it returns can be predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState
from ttrl_env.engines.observations import allocate
from ttrl_env.vector_env import TTRLVectorEnv


@dataclass
class CountingEngine:
    """Succeeds and fails at given steps; observations hold the task, the initial state and the count."""

    config: EngineConfig
    success_at: Mapping[int, int] = field(default_factory=dict)
    """Row -> the step at which its episodes succeed; rows not named never do."""
    failure_at: Mapping[int, int] = field(default_factory=dict)
    """Row -> the step at which its simulation diverges."""

    def __post_init__(self) -> None:
        self.observations = allocate(self.config)
        self.count = [0] * self.config.num_rows
        self.start = [(-1, -1)] * self.config.num_rows
        self.calls: list[tuple[str, list[int]]] = []
        self.closed = 0

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        self.calls.append(("reset", list(rows)))
        for row, task_id, state in zip(rows, task_ids, init_state_ids, strict=True):
            self.count[row] = 0
            self.start[row] = (task_id, state)
            self._publish(row, np.zeros(7))

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        self.calls.append(("step", list(rows)))
        assert min(max_steps) >= 1
        answers = [
            self._step_row(row, chunk[:limit])
            for row, chunk, limit in zip(rows, actions, max_steps, strict=True)
        ]
        return ChunkResult(
            executed_steps=np.array([answer[0] for answer in answers]),
            success=np.array([answer[1] for answer in answers]),
            failure=[answer[2] for answer in answers],
        )

    def state(self, row: int) -> SimState:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1

    def _step_row(self, row: int, chunk: NDArray) -> tuple[int, bool, str | None]:
        executed, success, failure = 0, False, None
        for action in chunk:
            executed += 1
            self.count[row] += 1
            success = self.count[row] == self.success_at.get(row)
            failure = "diverged" if self.count[row] == self.failure_at.get(row) else None
            self._publish(row, action)
            if success or failure:
                break
        return executed, success, failure

    def _publish(self, row: int, action: NDArray) -> None:
        for camera in self.config.cameras:
            self.observations[f"{camera}_image"][row] = self.count[row]
        self.observations["robot0_eef_pos"][row] = (*self.start[row], self.count[row])
        self.observations["robot0_eef_quat"][row] = action[:4]


def counting_engine(envs: TTRLVectorEnv) -> CountingEngine:
    """The engine of an environment that was made with :func:`counting`."""
    assert isinstance(envs.engine, CountingEngine)
    return envs.engine


def counting(
    success_at: Mapping[int, int] | None = None, failure_at: Mapping[int, int] | None = None
) -> Callable[[EngineConfig], CountingEngine]:
    """The ``engine`` argument that makes a :class:`CountingEngine`."""
    return lambda config: CountingEngine(config, success_at or {}, failure_at or {})
