"""A one-dimensional reaching task behind the real vector environment: learnt in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, load_policy
from ttrl_env.engines import observations
from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState
from ttrl_env.engines.requests import check_started
from ttrl_env.vector_env import TTRLVectorEnv

GAIN = 0.25
"""How far a full action moves the point, which succeeds at 1."""


class ReachEngine:
    """Action 0 moves a point along a line; the image's brightness shows where it is.

    Row and initial state do not matter; every row starts at 0.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.observations = observations.allocate(config)
        self.position = np.zeros(config.num_rows)
        self.started: set[int] = set()
        self.stepped_rows: list[int] = []
        self.closed = False

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        self.position[rows] = 0.0
        self.started.update(rows)
        self._draw(rows)

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        self.stepped_rows.append(len(rows))
        executed = np.zeros(len(rows), dtype=np.int64)
        success = np.zeros(len(rows), dtype=np.bool_)
        for k, row in enumerate(rows):
            for action in actions[k][: max_steps[k]]:
                self.position[row] += GAIN * action[0]
                executed[k] += 1
                success[k] = self.position[row] >= 1.0
                if success[k]:
                    break
        self._draw(rows)
        return ChunkResult(executed_steps=executed, success=success, failure=[None] * len(rows))

    def state(self, row: int) -> SimState:
        """The task's bowl is the point, and its plate where the point succeeds."""
        check_started([row], self.started)
        return SimState(
            time=0.0,
            qpos=np.zeros(0),
            qvel=np.zeros(0),
            body_pos=np.zeros((2, 3)),
            body_quat=np.zeros((2, 4)),
            body_xpos=np.array([[self.position[row], 0.0, 0.0], [1.0, 0.0, 0.0]]),
            body_xquat=np.tile([1.0, 0.0, 0.0, 0.0], (2, 1)),
            body_names=("akita_black_bowl_1_main", "plate_1_main"),
        )

    def close(self) -> None:
        self.closed = True

    def _draw(self, rows: Sequence[int]) -> None:
        brightness = np.clip(127 + 100 * self.position[rows], 0, 255).astype(np.uint8)
        for camera in self.config.cameras:
            self.observations[f"{camera}_image"][rows] = brightness[:, None, None, None]


def make_reach_env(n_samples: int = 8, num_groups: int = 1, **kwargs: Any) -> TTRLVectorEnv:
    settings: dict[str, Any] = {
        "max_steps": 32,
        "chunk_steps": 8,
        "image_size": 16,
        "autoreset_mode": "disabled",
    }
    return TTRLVectorEnv(
        "libero_spatial", (0,), n_samples, num_groups=num_groups, engine=ReachEngine, **{**settings, **kwargs}
    )


def reach_engine(env: TTRLVectorEnv) -> ReachEngine:
    """The engine of an environment that :func:`make_reach_env` made."""
    assert isinstance(env.engine, ReachEngine)
    return env.engine


def make_tiny_policy(seed: int = 0) -> TinyVLA:
    torch.manual_seed(seed)
    return TinyVLA(TinyVLAConfig(image_size=16, hidden_size=32, num_layers=1, num_heads=2))


def load_tiny_policy(folder: str | Path) -> TinyVLA:
    policy = load_policy(folder)
    assert isinstance(policy, TinyVLA)
    return policy
