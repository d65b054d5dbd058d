from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.contract.counting_engine import counting
from ttrl_env.registration import env_id, register_envs
from ttrl_env.single_env import LiberoEnv
from ttrl_env.tasks import SUITES
from ttrl_env.vector_env import TTRLVectorEnv

FAST: dict[str, Any] = {"image_size": 8, "engine": counting()}


def make_vec(env_id: str, **keywords: Any) -> TTRLVectorEnv:
    envs = gym.make_vec(env_id, **keywords, **FAST)
    assert isinstance(envs, TTRLVectorEnv)
    return envs


def test_every_suite_and_every_task_has_an_id() -> None:
    ids = {name for name in gym.registry if name.startswith("ttrl_env/")}
    assert len(ids) == 21 + 290 + 1 + 50
    for name in ("LiberoSpatial", "LiberoObject", "LiberoGoal", "Libero10", "Libero90", "LiberoGoalSwap"):
        assert f"ttrl_env/{name}-v0" in ids
    assert {"ttrl_env/LiberoSpatial-3-v0", "ttrl_env/Libero90-89-v0"} <= ids
    assert {"ttrl_env/RoboTwin-v0", "ttrl_env/RoboTwin-stack_blocks_two-v0"} <= ids


def test_an_id_of_a_task_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="robotwin has tasks 0 to 49, got -1"):
        env_id("robotwin", -1)


def test_registering_again_is_silent(recwarn) -> None:
    register_envs()
    assert not recwarn.list


def test_entry_points_are_strings_so_that_registration_imports_nothing() -> None:
    spec = gym.spec(env_id("libero_goal_lan", 4))
    assert spec.entry_point == "ttrl_env.single_env:LiberoEnv"
    assert spec.vector_entry_point == "ttrl_env.vector_entry:make_vec"
    assert spec.max_episode_steps is None


def test_make_gives_a_single_env_of_the_chosen_task() -> None:
    env = gym.make("ttrl_env/LiberoSpatial-v0", task_id=2, **FAST)
    assert isinstance(env.unwrapped, LiberoEnv)
    assert env.reset(seed=0)[1]["task_id"] == 2
    assert env.unwrapped.max_steps == SUITES["libero_spatial"].horizon
    assert gym.make("ttrl_env/LiberoSpatial-3-v0", **FAST).reset(seed=0)[1]["task_id"] == 3


def test_spec_makes_the_same_env_again() -> None:
    env = gym.make("ttrl_env/LiberoSpatial-3-v0", max_steps=9, **FAST)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again.unwrapped, LiberoEnv)
    assert again.unwrapped.max_steps == 9
    assert again.reset(seed=0)[1]["task_id"] == 3
    envs = make_vec("ttrl_env/LiberoSpatial-v0", num_envs=4, n_samples=2, task_ids=(4,))
    assert envs.spec is not None
    same = gym.make_vec(envs.spec)
    assert isinstance(same, TTRLVectorEnv)
    assert same.task_ids.tolist() == [4, 4, 4, 4]


def test_make_vec_gives_groups_of_n_samples() -> None:
    envs = make_vec("ttrl_env/LiberoSpatial-v0", num_envs=8, task_ids=(0, 1), n_samples=4)
    assert envs.num_envs == 8
    assert envs.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert envs.task_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_make_vec_takes_tasks_in_turn_when_groups_outnumber_them() -> None:
    envs = make_vec("ttrl_env/LiberoSpatial-v0", num_envs=8, task_ids=(5, 6), n_samples=2)
    assert envs.task_ids.tolist() == [5, 5, 6, 6, 5, 5, 6, 6]


def test_make_vec_without_n_samples_makes_one_group_a_task() -> None:
    assert make_vec("ttrl_env/LiberoSpatial-v0", num_envs=6).n_samples == 6
    assert make_vec("ttrl_env/LiberoSpatial-3-v0", num_envs=2).task_ids.tolist() == [3, 3]


def test_make_vec_passes_plain_keywords() -> None:
    envs = make_vec("ttrl_env/LiberoSpatial-v0", num_envs=2, autoreset_mode="disabled", chunk_steps=8)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert envs.action_space.shape == (2, 8, 7)


def episode_lengths(envs: gym.vector.VectorEnv) -> list[int]:
    """Calls of step until row 0 is truncated, in the first two episodes."""
    envs.reset(seed=0)
    actions = np.zeros_like(envs.action_space.sample())
    ends = [step for step in range(40) if envs.step(actions)[3][0]]
    return [ends[0] + 1, ends[1] - ends[0]]


@pytest.mark.parametrize("chunk_steps", [1, 4])
def test_gymnasiums_horizon_counts_calls_of_step_however_it_is_vectorised(chunk_steps: int) -> None:
    keywords: dict[str, Any] = {"num_envs": 2, "max_episode_steps": 6, "chunk_steps": chunk_steps}
    envs = make_vec("ttrl_env/LiberoSpatial-v0", **keywords)
    singles = gym.make_vec("ttrl_env/LiberoSpatial-v0", vectorization_mode="sync", **keywords, **FAST)
    assert envs.spec is not None
    assert envs.max_steps == 6 * chunk_steps
    assert episode_lengths(envs) == episode_lengths(singles) == [6, 7]  # the step that resets is one
    assert episode_lengths(gym.make_vec(envs.spec)) == [6, 7]


def test_the_horizon_of_a_vector_env_is_given_once() -> None:
    with pytest.raises(ValueError, match="max_episode_steps, max_steps: give one of them, got 6 and 9"):
        gym.make_vec("ttrl_env/LiberoSpatial-v0", 2, max_episode_steps=6, max_steps=9, **FAST)
    with pytest.raises(ValueError, match="max_episode_steps: expected an integer of at least 1, got 0"):
        gym.make_vec("ttrl_env/LiberoSpatial-v0", 2, max_episode_steps=0, **FAST)
    for none in (None, -1):  # Gymnasium's words for no time limit of its own
        envs = make_vec("ttrl_env/LiberoSpatial-v0", num_envs=2, max_episode_steps=none)
        assert envs.max_steps == SUITES["libero_spatial"].horizon


def test_make_vec_also_vectorises_single_envs() -> None:
    envs = gym.make_vec("ttrl_env/LiberoSpatial-v0", num_envs=2, vectorization_mode="sync", **FAST)
    _, infos = envs.reset(seed=0)
    assert infos["task_id"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"num_envs": 6, "n_samples": 4}, "num_envs: expected a multiple of n_samples=4"),
        ({"num_envs": 1, "n_samples": 4}, "num_envs: expected a multiple of n_samples=4"),
        (
            {"num_envs": 4, "n_samples": 4, "task_ids": (0, 1)},
            "num_groups: expected a multiple of the 2 task_ids",
        ),
        ({"num_envs": 4, "n_samples": 0}, "n_samples: expected an integer of at least 1"),
        ({"num_envs": 0}, "num_envs: expected an integer of at least 1"),
        ({"num_envs": 2, "task_ids": ()}, "task_ids: expected a non-empty sequence"),
        ({"num_envs": 2, "task_ids": (0,), "task_id": 1}, "task_ids, task_id: give one of them"),
    ],
)
def test_make_vec_refuses_rows_that_do_not_form_groups(keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_vec("ttrl_env/LiberoSpatial-v0", **keywords)


def test_a_mistyped_id_suggests_the_right_one() -> None:
    with pytest.raises(gym.error.NameNotFound, match="LiberoSpatial"):
        gym.make("ttrl_env/LiberoSpatail-v0")
