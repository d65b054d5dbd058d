"""Other projects' loops over LIBERO's API, written from their description.

Each imports its classes from ``libero.libero.envs``, as its project does, and yields what it sees.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import ttrl_env.libero
from tests.ttrl_env.libero.episodes import IMAGE_SIZE, arguments, start_state
from ttrl_env.engines.interface import SETTLE_ACTION

CHUNK = 4


def openvla_oft() -> Iterator[tuple[str, Any]]:
    """OpenVLA-OFT's evaluation: one environment a task, seeded once, reset for each trial.

    The policy acts open loop for a chunk of actions and looks only at its start. An episode ends at success.
    """
    from libero.libero.envs import OffScreenRenderEnv

    env = OffScreenRenderEnv(**arguments())
    env.seed(0)
    yield "instruction", env.language_instruction
    rng = np.random.default_rng(7)
    for trial in range(2):
        env.reset()
        observation = env.set_init_state(start_state(index=trial))
        queue: list[NDArray] = []
        for step in range(10 + 8):
            if step < 10:
                observation = env.step(list(SETTLE_ACTION))[0]
                continue
            if not queue:
                yield "looked at", _as_openvla_sees(observation)
                queue = list(rng.uniform(-1, 1, (CHUNK, 7)))
            observation, reward, done, info = env.step(queue.pop(0).tolist())
            yield "outcome", (reward, bool(done), info)
            if done:
                break
        yield "end", env.get_sim_state()
    env.close()


def _as_openvla_sees(observation: Any) -> dict[str, NDArray]:
    """Both images turned by 180 degrees, and the proprioceptive state."""
    keys = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    return {
        "full_image": observation["agentview_image"][::-1, ::-1],
        "wrist_image": observation["robot0_eye_in_hand_image"][::-1, ::-1],
        "state": np.concatenate([observation[key] for key in keys]),
    }


class LeRobotsEnv(gym.Env):
    """The way LeRobot's environment uses LIBERO's: it is built at the first reset, and resets itself."""

    observation_space = gym.spaces.Dict(
        {
            "agentview": gym.spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            "eef_mat": gym.spaces.Box(-np.inf, np.inf, (3, 3), np.float64),
            "joints": gym.spaces.Box(-np.inf, np.inf, (7,), np.float64),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (7,), np.float32)

    def __init__(self) -> None:
        self._env: Any = None
        self._state = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._build()
        self._env.seed(seed)
        self._env.reset()
        raw = self._env.set_init_state(start_state(index=self._state))
        self._state += 1
        for _ in range(10):
            raw = self._env.step([0, 0, 0, 0, 0, 0, -1])[0]
        for robot in self._env.robots:
            robot.controller.use_delta = True
        return self._formatted(raw), {"is_success": False}

    def step(self, action: NDArray) -> tuple[Any, float, bool, bool, dict]:
        raw, reward, done, info = self._env.step(action)
        success = bool(self._env.check_success())
        info.update(done=bool(done), is_success=success)
        observation = self._formatted(raw)
        if done or success:
            self.reset(seed=1)
        return observation, reward, bool(done) or success, False, info

    def render(self) -> NDArray:
        return self._formatted(self._env.env._get_observations())["agentview"][::-1, ::-1]

    def close(self) -> None:
        if self._env is not None:
            self._env.close()

    def _build(self) -> None:
        if self._env is None:
            from libero.libero.envs import OffScreenRenderEnv

            self._env = OffScreenRenderEnv(**arguments())
            self._env.reset()

    def _formatted(self, raw: Any) -> dict[str, Any]:
        return {
            "agentview": raw["agentview_image"],
            "eef_mat": self._env.robots[0].controller.ee_ori_mat,
            "joints": raw.get("robot0_joint_pos"),
        }


def lerobot() -> Iterator[tuple[str, Any]]:
    """LeRobot's environment in Gymnasium's vector environment, with float32 actions."""
    envs = gym.vector.SyncVectorEnv([LeRobotsEnv])
    observation, _ = envs.reset(seed=[0])
    yield "first", copy.deepcopy(observation)
    rng = np.random.default_rng(3)
    for _ in range(3):  # it succeeds in the third; the vector environment would then reset it without a seed
        actions = rng.uniform(-1, 1, (1, 7)).astype(np.float32)
        observation, reward, terminated, truncated, info = envs.step(actions)
        yield "observation", copy.deepcopy(observation)
        yield "outcome", (reward.tolist(), terminated.tolist(), truncated.tolist())
        yield "success", info["is_success"].tolist()
    yield "rendered", envs.call("render")[0]
    envs.close()


def rlinf() -> Iterator[tuple[str, Any]]:
    """RLinf's environment: LIBERO's vector environment, a state for each row, chunks, resets of some rows."""
    from libero.libero.envs import OffScreenRenderEnv, SubprocVectorEnv

    def make(seed: int) -> Callable[[], Any]:
        def env_fn() -> Any:
            env = OffScreenRenderEnv(**arguments())
            env.seed(seed)
            return env

        return env_fn

    envs = SubprocVectorEnv([make(4), make(4)])
    rows = np.arange(2)
    envs.set_init_state(init_state=[start_state(index=row) for row in range(2)], id=rows)  # before any reset
    envs.reset(id=rows)
    observations = envs.set_init_state(init_state=[start_state(index=row) for row in range(2)], id=rows)
    for _ in range(10):
        observations, _, dones, infos = envs.step(np.zeros((2, 7)))
    rng = np.random.default_rng(5)
    for _ in range(2):
        for action in rng.uniform(-1, 1, (CHUNK, 2, 7)):
            observations, rewards, dones, infos = envs.step(action)
            yield "outcome", (rewards.tolist(), dones.astype(bool).tolist(), list(infos))
        for observation in copy.deepcopy(observations):
            yield "looked at", _as_openvla_sees(observation)
    envs.reset(id=rows[1:])
    yield "one row", dict(envs.set_init_state([start_state(index=2)], id=rows[1:])[0])
    yield "success", [bool(each) for each in envs.check_success()]
    envs.close()


def simple_vla_rl() -> Iterator[tuple[str, Any]]:
    """SimpleVLA-RL's rollout: a process for each episode, which sends observations through a queue."""
    context = multiprocessing.get_context("spawn")
    actions, answers = context.Queue(), context.Queue()
    worker = context.Process(target=simple_vla_rl_worker, args=(is_installed(), actions, answers))
    worker.start()
    yield "first", answers.get(timeout=250)
    rng = np.random.default_rng(9)
    for _ in range(2):
        actions.put(rng.uniform(-1, 1, (CHUNK, 7)))
        yield "chunk", answers.get(timeout=100)
    actions.put(None)
    worker.join(timeout=60)


def simple_vla_rl_worker(installs: bool, actions: Any, answers: Any) -> None:
    if installs:  # a spawned process installs by itself
        ttrl_env.libero.install()
    from libero.libero.envs import OffScreenRenderEnv

    env = OffScreenRenderEnv(**arguments())
    env.seed(0)
    env.reset()
    observation = env.set_init_state(start_state(index=1))
    for _ in range(10):
        observation = env.step(list(SETTLE_ACTION))[0]
    answers.put(observation)
    while (chunk := actions.get()) is not None:
        for action in chunk:
            observation, _, done, _ = env.step(action.tolist())
            if done:
                break
        answers.put({"done": bool(done), **observation})
    env.close()


def is_installed() -> bool:
    """Whether LIBERO's modules give our classes."""
    from libero.libero.envs import OffScreenRenderEnv

    return OffScreenRenderEnv is ttrl_env.libero.OffScreenRenderEnv
