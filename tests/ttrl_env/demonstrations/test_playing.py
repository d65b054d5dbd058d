"""Playing an expert: what is executed, what is kept, when it ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ttrl_env.demonstrations.playing import Trajectory, play
from ttrl_env.engines.interface import SimState

SPEED = 0.1
"""How far a full action moves the point."""


class PointReplica:
    """A point that must come to within 0.02 of the origin."""

    def __init__(self, failure: str | None = None) -> None:
        self.position = np.array([0.3, -0.2, 0.1])
        self.failure = failure

    @property
    def sample(self) -> SimpleNamespace:
        return SimpleNamespace(
            eef_pos=self.position, eef_quat=np.array([1.0, 0, 0, 0]), gripper_qpos=np.zeros(2)
        )

    def state(self) -> SimState:
        nothing = np.zeros((0, 3))
        return SimState(
            time=0.0,
            qpos=np.concatenate([self.position, np.zeros(4)]),
            qvel=np.zeros(7),
            body_pos=nothing,
            body_quat=np.zeros((0, 4)),
            body_xpos=nothing,
            body_xquat=np.zeros((0, 4)),
            body_names=(),
        )

    def step(self, actions):
        assert actions.shape == (1, 7)
        self.position = self.position + SPEED * actions[0, :3]
        return 1, bool(np.abs(self.position).max() < 0.02), self.failure


class PointExpert:
    """Goes straight to the origin."""

    def act(self, observation, state) -> np.ndarray:
        assert np.array_equal(observation["robot0_eef_pos"], state.qpos[:3])  # of one and the same moment
        motion = np.clip(-state.qpos[:3] / SPEED, -0.5, 0.5)
        return np.array([*motion, 0.0, 0.0, 0.0, -0.25], dtype=np.float32)


def play_point(max_steps: int = 200, failure: str | None = None, **settings: Any) -> Trajectory:
    point: Any = PointReplica(failure)  # in the place of a replica
    return play(point, PointExpert(), max_steps=max_steps, **settings)


def test_labels_are_clean_though_execution_is_noisy() -> None:
    differences = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        played = play_point(noise=0.2, rng=rng)
        labels, executed = np.array(played.actions), np.array(played.executed_actions)
        position = np.array(played.eef_pos)
        assert np.allclose(labels[:, :3], np.clip(-position / SPEED, -0.5, 0.5), atol=1e-6)
        assert np.allclose(np.diff(position, axis=0), SPEED * executed[:-1, :3])
        assert np.array_equal(executed[:, 6], labels[:, 6])  # the gripper is not disturbed
        differences.append((executed - labels)[:, :6])
    noise = np.concatenate(differences)
    assert noise.std() == pytest.approx(0.2, rel=0.1)
    assert abs(noise.mean()) < 0.03


def test_without_noise_the_labels_are_what_was_executed() -> None:
    played = play_point()
    assert played.success
    assert np.array_equal(np.array(played.actions, dtype=np.float64), played.executed_actions)


def test_everything_kept_is_from_before_the_step() -> None:
    seen = lambda replica: {"c": replica.position}  # noqa: E731
    played = play_point(render=seen)
    assert np.array_equal(played.eef_pos[0], [0.3, -0.2, 0.1])
    assert np.abs(played.eef_pos[-1]).max() > 0.02  # the last step is the one that succeeds
    assert np.array_equal(played.images["c"], played.eef_pos)
    assert len(played) == len(played.states) == len(played.joint_pos) == len(played.gripper_qpos)


def test_an_episode_ends_at_its_horizon_or_when_the_simulation_diverges() -> None:
    short = play_point(max_steps=2)
    assert (len(short), short.success) == (2, False)
    broken = play_point(failure="NaN in qpos")
    assert (len(broken), broken.success) == (1, False)
