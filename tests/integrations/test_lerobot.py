"""LeRobot's own evaluation plays a policy of its own on our environments.

Run in an environment with ``pip install 'ttrl-env[libero,lerobot]'`` (Python 3.12 or newer).
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.contract.counting_engine import counting
from ttrl_env.lerobot.vector_env import LeRobotVectorEnv

pytest.importorskip("lerobot.envs", reason="LeRobot is not installed", exc_type=ImportError)
pytestmark = pytest.mark.integrations

import torch
from lerobot.configs import parser
from lerobot.envs.factory import make_env, make_env_config, make_env_pre_post_processors
from lerobot.envs.utils import preprocess_observation
from lerobot.policies.factory import make_policy, make_policy_config, make_pre_post_processors
from lerobot.scripts.lerobot_eval import eval_policy_all

parser.load_plugin("ttrl_env.lerobot")  # what --env.discover_packages_path does

SIZE = 64
TINY_ACT = {
    "device": "cpu",
    "pretrained_backbone_weights": None,
    "dim_model": 32,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "use_vae": False,
    "chunk_size": 3,
    "n_action_steps": 3,
    "push_to_hub": False,
}


@pytest.fixture(scope="module")
def evaluated() -> SimpleNamespace:
    """A small ACT with random weights for ``--env.type=ttrl``, and what LeRobot puts before and after it."""
    env = make_env_config("ttrl", task="libero_object", observation_height=SIZE, observation_width=SIZE)
    config = make_policy_config("act", **TINY_ACT)
    torch.manual_seed(0)
    policy = make_policy(config, env_cfg=env)
    preprocessor, postprocessor = make_pre_post_processors(config, dataset_stats=None)
    env_preprocessor, env_postprocessor = make_env_pre_post_processors(env, config)
    return SimpleNamespace(
        policy=policy,
        preprocessor=preprocessor,
        postprocessor=postprocessor,
        env_preprocessor=env_preprocessor,
        env_postprocessor=env_postprocessor,
    )


def test_the_policy_sees_the_features_of_liberos_datasets(evaluated) -> None:
    shapes = {key: feature.shape for key, feature in evaluated.policy.config.input_features.items()}
    assert shapes == {
        "observation.images.image": (3, SIZE, SIZE),
        "observation.images.image2": (3, SIZE, SIZE),
        "observation.state": (8,),
    }


def test_success_is_counted_and_videos_are_written(evaluated, tmp_path) -> None:
    def envs(task_id: int, success_at: dict[int, int]) -> LeRobotVectorEnv:
        engine = counting(success_at)
        return LeRobotVectorEnv("libero_object", task_id, 2, image_size=SIZE, max_steps=3, engine=engine)

    report = eval_policy_all(
        envs={"libero_object": {0: envs(0, {0: 2}), 1: envs(1, {})}},
        **vars(evaluated),
        n_episodes=4,
        max_episodes_rendered=1,
        videos_dir=tmp_path,
        start_seed=1000,
    )
    successes = [task["metrics"]["successes"] for task in report["per_task"]]
    assert successes == [[True, False] * 2, [False] * 4]
    assert report["overall"]["pc_success"] == 25.0
    assert report["overall"]["avg_sum_reward"] == 0.25
    assert all(Path(video).stat().st_size for video in report["overall"]["video_paths"])


def test_the_state_is_what_lerobots_own_processor_makes_of_the_raw_observation() -> None:
    quaternions = np.random.default_rng(0).normal(size=(3, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    actions = np.concatenate([quaternions, np.zeros((3, 3))], axis=1)  # the engine's next quaternions
    seen = {}
    for obs_type in ("pixels_agent_pos", "pixels_robot_state"):
        config = make_env_config("ttrl", task="libero_object", obs_type=obs_type)
        envs = LeRobotVectorEnv("libero_object", 0, 3, obs_type=obs_type, image_size=8, engine=counting())
        envs.reset()
        processor, _ = config.get_env_processors()
        seen[obs_type] = processor(preprocess_observation(envs.step(actions)[0]))
    raw, ready = seen["pixels_robot_state"], seen["pixels_agent_pos"]
    images = {"observation.images.image", "observation.images.image2"}
    observed = {key for key in raw if key.startswith("observation.")}  # a processor adds empty ones
    assert observed == {*images, "observation.state"}
    torch.testing.assert_close(raw["observation.state"], ready["observation.state"], atol=1e-5, rtol=0)
    assert all(torch.equal(raw[key], ready[key]) for key in images)


@pytest.mark.libero
def test_the_raw_observation_is_that_of_lerobots_own_environment(tmp_path) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (8, 7)).astype(np.float32)
    np.save(tmp_path / "actions.npy", actions)
    program = Path(__file__).with_name("lerobots_environment.py")
    command = [sys.executable, program, tmp_path / "actions.npy", tmp_path / "observations.pickle"]
    subprocess.run(command, check=True)
    theirs = pickle.loads((tmp_path / "observations.pickle").read_bytes())
    ours = LeRobotVectorEnv("libero_object", 0, 1, obs_type="pixels_robot_state", image_size=SIZE)
    assert_same_in_row_0(ours.reset()[0], theirs[0])
    for action, expected in zip(actions, theirs[1:], strict=True):
        assert_same_in_row_0(ours.step(action[None])[0], expected)
    ours.close()


def assert_same_in_row_0(observation: Any, expected: Any, where: str = "observation") -> None:
    """Up to rounding; tests of the engines compare the same arrays with LIBERO's bit for bit."""
    if not isinstance(expected, dict):
        assert (observation.dtype, observation[0].shape) == (expected.dtype, expected.shape), where
        np.testing.assert_allclose(observation[0], expected, rtol=0, atol=1e-9, err_msg=where)
        return
    assert observation.keys() == expected.keys()
    for key, value in expected.items():
        assert_same_in_row_0(observation[key], value, f"{where}.{key}")


def test_make_env_returns_each_suites_tasks() -> None:
    config = make_env_config("ttrl", task="libero_object,libero_goal", task_ids=[3, 1], episode_length=9)
    envs = make_env(config, n_envs=2, use_async_envs=True)
    assert {suite: list(tasks) for suite, tasks in envs.items()} == {
        "libero_object": [3, 1],
        "libero_goal": [3, 1],
    }
    assert envs["libero_goal"][1].call("_max_episode_steps") == (9, 9)
    assert envs["libero_goal"][1].call("task_id") == (1, 1)


@pytest.mark.libero
def test_lerobot_eval_evaluates_its_policy_on_libero(evaluated, tmp_path) -> None:
    for part in (evaluated.policy, evaluated.preprocessor, evaluated.postprocessor):
        part.save_pretrained(tmp_path / "act")
    command = [
        str(Path(sys.executable).with_name("lerobot-eval")),
        "--env.discover_packages_path=ttrl_env.lerobot",
        "--env.type=ttrl",
        "--env.task=libero_object",
        "--env.task_ids=[0]",
        "--env.episode_length=3",
        f"--env.observation_height={SIZE}",
        f"--env.observation_width={SIZE}",
        f"--policy.path={tmp_path / 'act'}",
        "--policy.device=cpu",
        "--eval.n_episodes=2",
        "--eval.batch_size=2",
        f"--output_dir={tmp_path / 'out'}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "out/eval_info.json").read_text())
    assert report["overall"]["n_episodes"] == 2
    assert report["overall"]["pc_success"] == 0.0  # random weights, three steps
    assert len(report["per_group"]["libero_object"]["video_paths"]) == 2
