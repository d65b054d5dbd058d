from __future__ import annotations

import numpy as np
import pytest

from ttrl_env import shared_arrays, tasks
from ttrl_env.agents.demonstrations import Demonstration, Demonstrations, record_demonstrations
from ttrl_env.errors import UnknownNameError
from ttrl_env.simulation import ChunkResult, EngineConfig, SimState

SPEED = 0.1
"""How far a full action moves the point."""


class PointEngine:
    """A point that must come to within 0.02 of the origin; it starts where its initial state says.

    From the initial states in ``hopeless`` it never succeeds.
    """

    def __init__(self, config: EngineConfig, hopeless: frozenset[int] = frozenset()) -> None:
        self.config = config
        self.hopeless = hopeless
        self.observations = shared_arrays.allocate(config)
        self.position = np.zeros((config.num_rows, 3))
        self.init_state_ids = np.zeros(config.num_rows, dtype=int)
        self.executed: list[np.ndarray] = []
        self.closed = False

    def reset(self, rows, task_ids, init_state_ids) -> None:
        self.init_state_ids[rows] = init_state_ids
        for row, state in zip(rows, init_state_ids, strict=True):
            self.position[row] = (0.3 + 0.01 * state, -0.2, 0.1)
        self.publish(rows)

    def step(self, rows, actions, max_steps) -> ChunkResult:
        assert actions.shape == (len(rows), 1, 7)
        self.executed.extend(actions[:, 0])
        self.position[rows] += SPEED * actions[:, 0, :3]
        self.publish(rows)
        near = np.abs(self.position[rows]).max(axis=1) < 0.02
        can = np.array([state not in self.hopeless for state in self.init_state_ids[rows]])
        return ChunkResult(
            executed_steps=np.ones(len(rows), dtype=np.int64), success=near & can, failure=[None] * len(rows)
        )

    def state(self, row) -> SimState:
        nothing = np.zeros((0, 3))
        return SimState(
            time=0.0,
            qpos=self.position[row].copy(),
            qvel=np.zeros(3),
            body_pos=nothing,
            body_quat=np.zeros((0, 4)),
            body_xpos=nothing,
            body_names=(),
        )

    def close(self) -> None:
        self.closed = True

    def publish(self, rows) -> None:
        self.observations["robot0_eef_pos"][rows] = self.position[rows]
        for row in rows:
            brightness = np.clip(128 + 100 * self.position[row, 0], 0, 255).astype(np.uint8)
            self.observations["agentview_image"][row] = brightness
            self.observations["agentview_image"][row, 0] = 7  # the first row differs: no flip goes unseen


class PointExpert:
    """Goes straight to the origin."""

    def act(self, observation, state) -> np.ndarray:
        assert np.allclose(observation["robot0_eef_pos"], state.qpos, atol=1e-6)  # of one and the same row
        return np.array([*np.clip(-state.qpos / SPEED, -0.5, 0.5), 0.0, 0.0, 0.0, -0.25], dtype=np.float32)


def record(engines=None, hopeless=frozenset(), suite="libero_spatial", task_id=3, **kwargs) -> Demonstrations:
    def engine(config):
        made = PointEngine(config, hopeless)
        if engines is not None:
            engines.append(made)
        return made

    settings = {"num_episodes": 6, "image_size": 8, "noise": 0.2, "engine": engine, "expert": PointExpert()}
    return record_demonstrations(suite, task_id, **{**settings, **kwargs})


def test_labels_are_clean_though_execution_is_noisy() -> None:
    engines: list[PointEngine] = []
    recorded = record(engines, num_episodes=40, num_workers=1)
    errors = []
    for episode in recorded.episodes:
        position = episode.observations["robot0_eef_pos"].astype(np.float64)
        assert np.allclose(episode.actions[:, :3], np.clip(-position / SPEED, -0.5, 0.5), atol=1e-5)
        assert not episode.actions[:, 3:6].any()
        executed = np.diff(position, axis=0) / SPEED
        errors.append(executed - episode.actions[:-1, :3])
    noise = np.concatenate(errors)
    assert noise.std() == pytest.approx(0.2, rel=0.1)  # over 200 steps x 3
    assert abs(noise.mean()) < 0.03
    executed = np.array(engines[0].executed)
    assert executed[:, 3:6].std() == pytest.approx(0.2, rel=0.1)  # rotation is disturbed too
    assert np.allclose(executed[:, 6], -0.25)  # the gripper is not


def test_without_noise_the_labels_are_what_was_executed() -> None:
    engines: list[PointEngine] = []
    recorded = record(engines, noise=0.0, num_workers=1)
    labels = np.concatenate([episode.actions for episode in recorded.episodes])
    assert np.allclose(labels, engines[0].executed, atol=1e-7)


def test_observations_are_the_environments_before_each_step() -> None:
    episode = record(num_episodes=1, noise=0.0).episodes[0]
    position = episode.observations["robot0_eef_pos"]
    assert np.allclose(position[0], [0.3 + 0.01 * episode.init_state_id, -0.2, 0.1])
    assert np.abs(position[-1]).max() > 0.02  # the last step is the one that succeeds
    images = episode.observations["agentview_image"]
    assert images.shape == (len(episode), 8, 8, 3)
    assert images.dtype == np.uint8
    assert (images[:, 0] == 7).all()
    assert images[:, 1, 0, 0].tolist() == [int(128 + 100 * x) for x in position[:, 0]]
    assert set(episode.observations) == {
        "agentview_image",
        "robot0_eef_pos",
        "robot0_eef_quat",
        "robot0_gripper_qpos",
    }


def test_keeps_successes_only_and_from_train_states_only() -> None:
    hopeless = frozenset(range(0, 50, 2))
    recorded = record(hopeless=hopeless, num_episodes=12, max_steps=20, num_workers=3)
    states = [episode.init_state_id for episode in recorded.episodes]
    assert len(states) == 12
    assert all(episode.success for episode in recorded.episodes)
    assert set(states) <= set(range(1, 40, 2))
    assert len(set(states)) == 12  # no state twice before every one was tried
    assert recorded.attempts > 12


def test_episodes_do_not_depend_on_the_number_of_workers() -> None:
    hopeless = frozenset(range(0, 50, 3))
    one, three = (record(hopeless=hopeless, max_steps=20, num_workers=n) for n in (1, 3))
    assert one.attempts == three.attempts
    for first, second in zip(one.episodes, three.episodes, strict=True):
        assert first.init_state_id == second.init_state_id
        assert np.array_equal(first.actions, second.actions)
        assert np.array_equal(first.observations["agentview_image"], second.observations["agentview_image"])


def test_the_seed_replays_and_another_seed_does_not() -> None:
    first, again, other = (record(seed=seed) for seed in (5, 5, 6))
    for episode, same in zip(first.episodes, again.episodes, strict=True):
        assert np.array_equal(episode.actions, same.actions)
    assert [e.init_state_id for e in first.episodes] != [e.init_state_id for e in other.episodes]


def test_gives_up_on_an_expert_that_keeps_failing() -> None:
    engines: list[PointEngine] = []
    with pytest.raises(RuntimeError, match=r"solved 0 of 12 attempts.*max_steps=20.*4 episodes"):
        record(engines, hopeless=frozenset(range(50)), num_episodes=4, max_steps=20)
    assert engines[0].closed


def test_progress_counts_recorded_episodes_and_the_engine_is_closed() -> None:
    engines: list[PointEngine] = []
    calls: list[tuple[int, int]] = []
    record(engines, num_episodes=5, num_workers=2, progress=lambda *call: calls.append(call))
    assert [total for _, total in calls] == [5] * len(calls)
    recorded = [count for count, _ in calls]
    assert recorded == sorted(set(recorded))
    assert recorded[-1] == 5
    assert engines[0].closed
    assert engines[0].config.num_rows == 2


def test_a_task_without_an_expert_is_refused_before_anything_is_built() -> None:
    engines: list[PointEngine] = []
    with pytest.raises(UnknownNameError, match="no scripted expert for libero_10 task 0"):
        record(engines, suite="libero_10", task_id=0, expert=None)
    assert engines == []


@pytest.mark.parametrize("noise", [-0.1, np.nan, np.inf])
def test_noise_must_be_a_standard_deviation(noise) -> None:
    with pytest.raises(ValueError, match="noise: expected a finite standard deviation"):
        record(noise=noise)


def test_chunks_repeat_an_episodes_last_action_and_mask_it() -> None:
    chunks = by_hand([[1, 2, 3], [4]]).chunks(2)
    assert chunks.actions.shape == (4, 2, 7)
    assert chunks.actions.dtype == np.float32
    assert chunks.actions[:, :, 0].tolist() == [[1, 2], [2, 3], [3, 3], [4, 4]]
    assert chunks.mask.tolist() == [[True, True], [True, True], [True, False], [True, False]]
    assert chunks.episode.tolist() == [0, 0, 0, 1]
    assert chunks.observations["robot0_eef_pos"][:, 0].tolist() == [10, 20, 30, 40]


def test_chunks_longer_than_an_episode() -> None:
    chunks = by_hand([[1, 2]]).chunks(4)
    assert chunks.actions[:, :, 0].tolist() == [[1, 2, 2, 2], [2, 2, 2, 2]]
    assert chunks.mask.sum(axis=1).tolist() == [2, 1]


def test_chunks_need_a_positive_length() -> None:
    with pytest.raises(ValueError, match="chunk_steps"):
        by_hand([[1, 2]]).chunks(0)


@pytest.mark.libero
def test_records_a_real_task() -> None:
    recorded = record_demonstrations(
        "libero_90", 0, num_episodes=1, image_size=64, noise=0.1, max_steps=60, num_workers=1
    )
    episode = recorded.episodes[0]
    assert recorded.instruction == "close the top drawer of the cabinet"
    images = episode.observations["agentview_image"]
    assert images.shape == (len(episode), 64, 64, 3)
    assert (images[0] != images[-1]).mean() > 0.05
    assert images[0, :8].mean() > images[0, -8:].mean() + 50  # raw orientation: the bright table comes first
    assert np.abs(episode.actions).max() <= 1.0
    assert (episode.actions[:, 6] == -1.0).all()
    assert episode.actions[-5:, 1].max() < -0.5  # it ends by pushing the drawer in, along -y


def by_hand(actions_by_episode) -> Demonstrations:
    """Episodes whose first action entry is given and whose observation is ten times it."""
    task = tasks.Task(suite="s", task_id=0, name="n", instruction="i", horizon=9, bddl_file=None)
    episodes = []
    for values in actions_by_episode:
        actions = np.zeros((len(values), 7), dtype=np.float32)
        actions[:, 0] = values
        episodes.append(
            Demonstration(
                observations={"robot0_eef_pos": 10 * actions[:, :3]},
                actions=actions,
                success=True,
                init_state_id=0,
            )
        )
    return Demonstrations(task=task, episodes=tuple(episodes), attempts=len(episodes), noise=0.0, seed=0)
