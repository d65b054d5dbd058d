"""The environment in LeRobot's convention, over an engine that counts; LeRobot itself is not needed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contract.counting_engine import counting, counting_engine
from ttrl_env import libero_tasks
from ttrl_env.lerobot.vector_env import LeRobotVectorEnv
from ttrl_env.rotations import quaternions

ACTIONS = np.zeros((2, 7), np.float32)


def make(*, success_at: dict[int, int] | None = None, **kwargs) -> LeRobotVectorEnv:
    kwargs = {"image_size": 8, "max_steps": 4, "engine": counting(success_at), **kwargs}
    return LeRobotVectorEnv("libero_object", 0, 2, **kwargs)


def test_observations_are_those_of_lerobots_datasets() -> None:
    envs = make()
    observations, _ = envs.reset()
    assert envs.observation_space.contains(observations)
    assert set(observations["pixels"]) == {"image", "image2"}
    rotation = np.array([[0.0, 0.3, -0.2], [0.1, 0.0, 0.0]])
    actions = np.concatenate([quaternions(rotation), np.zeros((2, 3))], axis=1)
    observations, *_ = envs.step(actions)  # the engine publishes an action's start as the quaternion
    np.testing.assert_allclose(observations["agent_pos"][:, 3:6], rotation, atol=1e-6)
    np.testing.assert_array_equal(observations["agent_pos"][:, :3], [[0, 0, 1], [0, 1, 1]])


def test_images_are_rotated_and_contiguous() -> None:
    envs = make(success_at={0: 1, 1: 1})
    envs.reset()
    envs.step(ACTIONS)
    envs._rows.engine.observations["agentview_image"][0, 0, 1] = 200
    observations, *_ = envs.step(ACTIONS)  # of rows that are over, so the engine draws nothing
    image = observations["pixels"]["image"]
    assert (image[0, -1, -2] == 200).all()
    assert image.flags.c_contiguous


def test_without_agent_pos_there_are_pixels_alone() -> None:
    observations, _ = make(obs_type="pixels", camera_names={"agentview": "top"}).reset()
    assert list(observations) == ["pixels"]
    assert list(observations["pixels"]) == ["top"]


def test_the_robot_state_comes_with_images_as_libero_has_them() -> None:
    envs = make(obs_type="pixels_robot_state")
    observations, _ = envs.reset()
    assert envs.observation_space.contains(observations)
    state = observations["robot_state"]
    assert {part: list(values) for part, values in state.items()} == {
        "eef": ["pos", "quat", "mat"],
        "gripper": ["qpos", "qvel"],
        "joints": ["pos", "vel"],
    }
    assert state["eef"]["mat"].shape == (2, 3, 3)
    engine = envs._rows.engine.observations
    engine["robot0_joint_vel"][1] = np.pi  # which float32 does not hold
    engine["agentview_image"][0, 0, 1] = 200
    observations = envs._translated(envs._rows._observations())
    np.testing.assert_array_equal(observations["robot_state"]["joints"]["vel"][1], np.full(7, np.pi))
    assert (observations["pixels"]["image"][0, 0, 1] == 200).all()
    assert (state["joints"]["vel"] == 0).all()  # what was returned before is a copy


def test_episodes_go_through_the_initial_states_in_order_whatever_the_seed() -> None:
    envs = make(init_states="held_out")
    began = [envs.reset(seed=seed)[1]["init_state_id"].tolist() for seed in (None, [7, 8], 9, 0, 1, 2)]
    assert began == [[40, 41], [42, 43], [44, 45], [46, 47], [48, 49], [40, 41]]


def test_options_of_lerobots_own_are_ignored() -> None:
    _, infos = make().reset(options={"lerobot_new_rollout": True})
    assert infos["init_state_id"].tolist() == [0, 1]


def test_rows_tell_their_task_and_horizon() -> None:
    envs = make()
    task = libero_tasks.get_task("libero_object", 0)
    assert envs.call("task") == (task.name, task.name)
    assert envs.call("task_description") == (task.instruction, task.instruction)
    assert envs.call("_max_episode_steps") == (4, 4)
    with pytest.raises(AttributeError, match="no attribute 'success'; known: task"):
        envs.get_attr("success")


def test_a_finished_row_waits_for_the_others() -> None:
    envs = make(success_at={0: 2})
    envs.reset()
    rewards, ends, successes = [], [], []
    for _ in range(4):
        _, reward, terminations, truncations, infos = envs.step(ACTIONS)
        rewards.append(reward.tolist())
        ends.append((terminations | truncations).tolist())
        successes.append(infos["is_success"].tolist())
    assert rewards == [[0, 0], [1, 0], [0, 0], [0, 0]]
    assert ends == [[False, False], [True, False], [True, False], [True, True]]
    assert successes == [[False, False], [True, False], [True, False], [True, False]]
    assert counting_engine(envs._rows).calls[-1] == ("step", [1])


def test_videos_are_upright_and_have_whole_frames_a_second() -> None:
    envs = make()
    envs.reset()
    envs._rows.engine.observations["agentview_image"][1, 0, 3] = 200  # bottom row first
    assert (envs.call("render")[1][-1, 3] == 200).all()
    assert type(envs.metadata["render_fps"]) is int


def test_closing_ends_the_simulation() -> None:
    envs = make()
    envs.close()
    assert counting_engine(envs._rows).closed == 1
