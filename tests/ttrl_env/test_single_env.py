from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics

from tests.contract.counting_engine import counting
from ttrl_env.single_env import LiberoEnv


def make(**kwargs: Any) -> LiberoEnv:
    defaults: dict[str, Any] = {"max_steps": 10, "image_size": 8, "engine": counting()}
    return LiberoEnv("libero_spatial", **{**defaults, **kwargs})


def check_without_complaints(env: gym.Env, **kwargs: bool) -> None:
    """Gymnasium's checker, with its warnings as errors; proprioception may be unbounded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="robosuite")  # if it is imported only now
        warnings.filterwarnings(
            "ignore", message=".*Box observation space (minimum|maximum) value is.*infinity"
        )
        check_env(env, **kwargs)


@pytest.mark.parametrize("chunk_steps", [1, 8])
def test_gymnasiums_checker_has_no_complaints(chunk_steps: int) -> None:
    env = gym.make(
        "ttrl_env/LiberoSpatial-v0",
        image_size=8,
        engine=counting(),
        chunk_steps=chunk_steps,
        cameras=("agentview", "robot0_eye_in_hand"),
    )
    check_without_complaints(env.unwrapped)


@pytest.mark.libero
def test_gymnasiums_checker_has_no_complaints_about_libero() -> None:
    env = gym.make("ttrl_env/LiberoSpatial-0-v0", image_size=64)
    check_without_complaints(env.unwrapped, skip_render_check=True)  # it would build another simulation
    image = env.unwrapped.render()
    assert isinstance(image, np.ndarray)
    assert image.std() > 10
    env.close()


@pytest.mark.libero
def test_runs_within_this_process_and_ends_silently_without_close() -> None:
    code = (
        "import gymnasium as gym, ttrl_env\n"
        "env = gym.make('ttrl_env/LiberoObject-v0', image_size=64, num_workers=0)\n"
        "print(env.reset(seed=0)[1]['finish_step'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "0\n"
    assert "Traceback" not in ran.stderr
    assert "Exception" not in ran.stderr


def test_infos_are_numpy_values() -> None:
    env = make(task_id=4, engine=counting(success_at={0: 2}))
    _, info = env.reset(seed=0, options={"init_state_id": 17})
    assert info == {
        "success": False,
        "is_success": False,
        "finish_step": 0,
        "init_state_id": 17,
        "episode_index": 0,
        "temperature": pytest.approx(0.6),
        "group": 0,
        "task_id": 4,
    }
    assert {key: value.dtype.name for key, value in info.items()} == {
        "success": "bool",
        "is_success": "bool",
        "finish_step": "int64",
        "init_state_id": "int64",
        "episode_index": "int64",
        "temperature": "float32",
        "group": "int64",
        "task_id": "int64",
    }
    env.step(env.action_space.sample())
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert (reward, terminated, truncated) == (1 / (1 + 2 / 10), True, False)
    assert info["success"]
    assert info["is_success"]
    assert info["finish_step"] == 2


def test_only_a_diverged_episode_reports_a_failure() -> None:
    env = make(engine=counting(failure_at={0: 2}))
    infos = [env.reset(seed=0)[1], *(env.step(env.action_space.sample())[4] for _ in range(2))]
    assert [info.get("failure") for info in infos] == [None, None, "diverged"]
    assert "failure" not in env.reset()[1]


def test_truncates_itself_at_the_horizon() -> None:
    env = gym.make("ttrl_env/LiberoSpatial-v0", max_steps=3, image_size=8, engine=counting())
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_options_choose_the_task_from_now_on_and_the_state_once() -> None:
    env = make()
    assert env.reset(seed=0, options={"task_id": 6, "init_state_id": 45})[1]["init_state_id"] == 45
    _, info = env.reset()
    assert info["task_id"] == 6
    assert info["init_state_id"] < 40
    with pytest.raises(ValueError, match="Did you mean 'init_state_id'"):
        env.reset(options={"init_state": 3})


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (None, {"task_id": 6, "init_state_id": 50}),
        (None, {"task_id": 99}),
        (None, {"task_id": "6"}),
        (3, {"init_state_id": 50}),
        ("7", {"task_id": 6}),
        (1.9, {"task_id": 6}),
    ],
)
def test_a_refused_reset_changes_nothing(seed: Any, options: dict[str, Any]) -> None:
    env, twin = make(), make()
    for each in (env, twin):
        each.reset(seed=0)
        each.step(np.zeros(7))
    with pytest.raises((ValueError, TypeError)):
        env.reset(seed=seed, options=options)
    assert env.np_random_seed == 0
    assert env.instruction == twin.instruction
    assert env.step(np.zeros(7))[4] == twin.step(np.zeros(7))[4]
    assert env.reset()[1] == twin.reset()[1]


def test_numpys_integers_are_seeds_as_pythons_are() -> None:
    assert make().reset(seed=np.int64(3))[1] == make().reset(seed=3)[1]


def test_render_is_upright() -> None:
    env = make()
    env.reset(seed=0)
    observation, *_ = env.step(env.action_space.sample())
    np.testing.assert_array_equal(env.render(), observation["agentview_image"][::-1])
    assert make(render_mode=None).render() is None


@pytest.mark.parametrize("keyword", ["task_ids", "n_samples", "num_groups", "autoreset_mode"])
def test_keywords_of_vector_envs_are_refused(keyword: str) -> None:
    with pytest.raises(TypeError, match=f"{keyword}: a single environment.*gym.make_vec"):
        make(**{keyword: 1})


def test_actions_of_the_wrong_shape_are_refused() -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: expected shape \(7,\), got \(1, 7\)"):
        env.step(np.zeros((1, 7)))


def test_episode_statistics_are_right() -> None:
    env = RecordEpisodeStatistics(make(engine=counting(success_at={0: 4})))
    env.reset(seed=0)
    for _ in range(4):
        *_, info = env.step(env.action_space.sample())
    assert info["episode"]["l"] == 4
    assert info["episode"]["r"] == pytest.approx(1 / (1 + 4 / 10))


def test_closing_twice_is_allowed() -> None:
    env = make()
    env.close()
    env.close()
