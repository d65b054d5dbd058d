"""Unmodified LIBERO environments, as commonly used: the baseline of the benchmark."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np

from ttrl_env.engines.interface import SETTLE_ACTION
from ttrl_env.libero_tasks import LiberoTask


class UnmodifiedLiberoEnv(gym.Env):
    """LIBERO's OffScreenRenderEnv with Gymnasium's interface; it renders its cameras at every step."""

    def __init__(self, bddl_file: str, image_size: int, cameras: tuple[str, ...]) -> None:
        """Build the environment, which takes seconds."""
        from ttrl_env.engines import opengl

        opengl.choose_backend()
        quieten_robosuite()
        from libero.libero.envs import OffScreenRenderEnv

        self._env = OffScreenRenderEnv(
            bddl_file_name=bddl_file,
            camera_names=list(cameras),
            camera_heights=image_size,
            camera_widths=image_size,
        )
        image = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({f"{camera}_image": image for camera in cameras})
        self.action_space = gym.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Call LIBERO's reset."""
        super().reset(seed=seed)
        self._env.seed(seed or 0)
        return self._select(self._env.reset()), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Call LIBERO's step."""
        observation, reward, done, info = self._env.step(action)
        return self._select(observation), float(reward), bool(done), False, info

    def close(self) -> None:
        """Free the simulation."""
        self._env.close()

    def _select(self, observation: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(self.observation_space, gym.spaces.Dict)
        return {key: observation[key] for key in self.observation_space.spaces}


def settled_control_env(task: LiberoTask, init_state: np.ndarray) -> Any:
    """LIBERO's ControlEnv without cameras, at a settled initial state."""
    quieten_robosuite()
    from libero.libero.envs.env_wrapper import ControlEnv

    env = ControlEnv(bddl_file_name=str(task.bddl_file), use_camera_obs=False, has_offscreen_renderer=False)
    env.seed(0)
    env.reset()
    env.set_init_state(init_state)
    for _ in range(10):
        env.step(list(SETTLE_ACTION))
    return env


def quieten_robosuite() -> None:
    """Silence robosuite's hint about a private macro file, which would appear in the benchmark's table."""
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
