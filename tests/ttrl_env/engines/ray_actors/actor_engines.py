"""Engines for Ray actors: they count, and misbehave when an action tells them to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.contract.counting_engine import CountingEngine
from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState

WAIT, DIE, RAISE, DRIFT = 2.0, 3.0, 4.0, 5.0
"""Values of a chunk's first number: take a second, end the process, raise, and observe one's own process."""


@dataclass
class Obedient(CountingEngine):
    """Counts, has the count as the time of its state, and does what the first number of a chunk says."""

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        told = actions[:, 0, 0]
        if WAIT in told:
            time.sleep(1.0)
        if DIE in told:
            os._exit(7)
        if RAISE in told:
            raise FloatingPointError("told to raise")
        return super().step(rows, actions, max_steps)

    def state(self, row: int) -> SimState:
        nothing = np.zeros(0)
        return SimState(
            time=float(self.count[row]),
            qpos=nothing,
            qvel=nothing,
            body_pos=nothing,
            body_quat=nothing,
            body_xpos=nothing,
            body_xquat=nothing,
            body_names=(),
        )

    def _publish(self, row: int, action: NDArray[np.float64]) -> None:
        super()._publish(row, action)
        self.observations["robot0_gripper_qpos"][row] = os.getpid() if action[0] == DRIFT else 0


def unmakeable(config: EngineConfig) -> CountingEngine:
    raise OSError("this node has no OpenGL")
