"""An unmodified LIBERO environment behind Gymnasium's interface: what the benchmark compares with."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class LiberoEnv(gym.Env):
    """LIBERO's default environment: both cameras, drawn at every step."""

    def __init__(self, bddl_file: str, image_size: int) -> None:
        """Build it, which takes seconds."""
        from ttrl_env import opengl

        opengl.choose_backend()
        from libero.libero.envs import OffScreenRenderEnv

        self._env = OffScreenRenderEnv(
            bddl_file_name=bddl_file, camera_heights=image_size, camera_widths=image_size
        )
        image = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict(
            {"agentview_image": image, "robot0_eye_in_hand_image": image}
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """LIBERO's own reset."""
        super().reset(seed=seed)
        self._env.seed(seed or 0)
        return self._select(self._env.reset()), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """LIBERO's own step."""
        observation, reward, done, info = self._env.step(action)
        return self._select(observation), float(reward), bool(done), False, info

    def close(self) -> None:
        """Free the simulation."""
        self._env.close()

    def _select(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {key: observation[key] for key in self.observation_space.spaces}
