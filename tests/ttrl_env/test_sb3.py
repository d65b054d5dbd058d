from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor, VecVideoRecorder

from tests.contract.counting_engine import counting
from tests.ttrl_env.stove import STOVE
from ttrl_env.sb3 import TTRLVecEnv, make_sb3_env
from ttrl_env.single_env import LiberoEnv
from ttrl_env.vector_env import TTRLVectorEnv


def make(**kwargs: Any) -> VecMonitor:
    defaults: dict[str, Any] = {"n_samples": 2, "max_steps": 5, "image_size": 8}
    engine = counting(success_at={0: 3})
    return make_sb3_env("libero_spatial", **{"engine": engine, **defaults, **kwargs})


def test_sb3s_checker_accepts_the_single_env() -> None:
    check_env(LiberoEnv("libero_spatial", image_size=36, engine=counting()))


def test_episode_ends_follow_sb3s_conventions() -> None:
    env = make()
    env.seed(0)
    env.reset()
    steps = [env.step(np.zeros((2, 7), dtype=np.float32)) for _ in range(5)]
    assert [step[2].tolist() for step in steps] == [[False, False]] * 2 + [
        [True, False],
        [False, False],
        [False, True],
    ]

    observations, rewards, _, infos = steps[2]
    assert isinstance(observations, dict)
    success = infos[0]
    assert rewards.tolist() == [pytest.approx(1 / (1 + 3 / 5)), 0.0]
    assert rewards.dtype == np.float32
    assert success["TimeLimit.truncated"] is False
    assert success["is_success"] is True
    assert infos[1]["is_success"] is False
    assert success["finish_step"] == 3
    assert success["terminal_observation"]["robot0_eef_pos"][2] == 3
    assert observations["robot0_eef_pos"][0, 2] == 0
    assert success["episode"]["l"] == 3
    assert success["episode"]["r"] == pytest.approx(1 / (1 + 3 / 5))
    assert "terminal_observation" not in infos[1]
    assert "episode" not in infos[1]
    assert env.unwrapped.reset_infos[0]["episode_index"] == 1

    horizon = steps[4][3][1]
    assert horizon["TimeLimit.truncated"] is True
    assert horizon["is_success"] is False
    assert horizon["episode"]["l"] == 5


def test_seed_and_options_are_used_once() -> None:
    env = make()
    env.seed(3)
    env.set_options({"init_state_ids": [44]})
    env.reset()
    assert env.unwrapped.reset_infos[0]["init_state_id"] == 44
    env.reset()
    second = env.unwrapped.reset_infos[0]["init_state_id"]
    plain = TTRLVectorEnv("libero_spatial", n_samples=2, image_size=8, engine=counting())
    plain.reset(seed=3)
    assert second == plain.reset()[1]["init_state_id"][0]


def test_attributes_are_those_of_the_shared_environment() -> None:
    env = make()
    assert env.get_attr("max_steps") == [5, 5]
    assert env.get_attr("max_steps", 1) == [5]
    assert env.has_attr("temperatures")
    assert not env.has_attr("temperature")
    env.set_attr("max_steps", 7)
    assert env.get_attr("max_steps") == [7, 7]
    with pytest.raises(ValueError, match="the rows share 'max_steps'"):
        env.set_attr("max_steps", 7, indices=0)
    with pytest.raises(NotImplementedError, match=r"call it on \.envs"):
        env.env_method("reset")
    assert env.env_is_wrapped(gym.Wrapper) == [False, False]


@pytest.mark.parametrize(("chunk_steps", "frames_per_second"), [(1, 20), (8, 2.5)])
def test_sb3s_recorder_plays_in_real_time(
    chunk_steps: int, frames_per_second: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", ModuleType("moviepy"))  # what it writes with, much later
    recorder = VecVideoRecorder(make(chunk_steps=chunk_steps), str(tmp_path), record_video_trigger=bool)
    assert recorder.frames_per_sec == frames_per_second


def test_images_are_upright() -> None:
    env = make()
    env.reset()
    observations, *_ = env.step(np.zeros((2, 7)))
    assert isinstance(observations, dict)
    np.testing.assert_array_equal(env.get_images()[1], observations["agentview_image"][1][::-1])
    image = env.render()
    assert image is not None
    assert image.ndim == 3


def test_only_same_step_autoreset_fits() -> None:
    with pytest.raises(TypeError, match="autoreset_mode: Stable-Baselines3"):
        make(autoreset_mode="disabled")
    with pytest.raises(ValueError, match="expected autoreset_mode SAME_STEP"):
        TTRLVecEnv(TTRLVectorEnv("libero_spatial", image_size=8, engine=counting()))


def test_missing_sb3_is_reported_with_the_install_line() -> None:
    code = (
        "import sys; sys.modules['stable_baselines3'] = None\n"
        "try:\n    import ttrl_env.sb3\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("MissingDependencyError")
    assert "pip install 'ttrl-env[sb3]'" in ran.stdout


class Statistics(BaseCallback):
    """What SB3 keeps for its log."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        assert self.model.ep_info_buffer is not None
        assert self.model.ep_success_buffer is not None
        self.returns = [episode["r"] for episode in self.model.ep_info_buffer]
        self.lengths = [episode["l"] for episode in self.model.ep_info_buffer]
        self.successes = list(self.model.ep_success_buffer)


def train(env: Any, **kwargs: Any) -> Statistics:
    statistics = Statistics()
    model = PPO("MultiInputPolicy", env, n_epochs=1, device="cpu", seed=0, **kwargs)
    model.learn(kwargs["n_steps"] * model.n_envs, callback=statistics)
    return statistics


def test_ppo_trains_unchanged() -> None:
    statistics = train(make(image_size=36), n_steps=30, batch_size=20)
    assert sorted(set(statistics.lengths)) == [3, 5]
    assert sorted({round(float(value), 5) for value in statistics.returns}) == [
        0.0,
        round(1 / (1 + 3 / 5), 5),
    ]
    assert sum(statistics.successes) == 30 / 3
    assert len(statistics.successes) == 30 / 3 + 30 / 5


def test_ppo_trains_on_chunks() -> None:
    statistics = train(make(image_size=36, chunk_steps=2), n_steps=12, batch_size=12)
    assert set(statistics.lengths) == {2, 3}


def test_sb3s_own_make_vec_env_works() -> None:
    env = make_vec_env(
        "ttrl_env/LiberoSpatial-v0",
        n_envs=2,
        env_kwargs={"task_id": 1, "image_size": 36, "max_steps": 5, "engine": counting(success_at={0: 3})},
    )
    statistics = train(env, n_steps=9, batch_size=9)
    assert set(statistics.lengths) == {3}
    assert statistics.successes == [True] * 6
    np.testing.assert_allclose(statistics.returns, 1 / (1 + 3 / 5), rtol=1e-5)


def test_sb3_logs_the_success_rate_of_a_gym_id(tmp_path: Path) -> None:
    env = gym.make("ttrl_env/LiberoSpatial-v0", image_size=36, max_steps=5, engine=counting({0: 3}))
    model = PPO("MultiInputPolicy", env, n_steps=9, batch_size=9, n_epochs=1, device="cpu")
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.learn(9)
    model.logger.close()  # else a later test that takes warnings for errors finds its file open
    logged = json.loads((tmp_path / "progress.json").read_text().splitlines()[-1])
    assert logged["rollout/success_rate"] == 1


@pytest.mark.libero
@pytest.mark.usefixtures("turning_stove")
def test_ppo_trains_on_libero(native_stove_engine) -> None:
    env = make_sb3_env(**STOVE, max_steps=7, engine=native_stove_engine, init_states=[0, 1])
    statistics = train(env, n_steps=9, batch_size=27)
    assert sorted(statistics.lengths) == [3, 3, 3, 6, 6, 6]
    np.testing.assert_allclose(
        sorted(statistics.returns), [1 / (1 + 6 / 7)] * 3 + [1 / (1 + 3 / 7)] * 3, rtol=1e-6
    )
    assert statistics.successes == [True] * 6
