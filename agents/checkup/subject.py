"""Argument of the checks of ``ttrl doctor CHECKPOINT``: a loaded policy and a training configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.policies import PolicyInputs, TokenPolicy
from ttrl_env.agents.policies.cameras import WORLDS
from ttrl_env.agents.policies.protocol import tokens_per_chunk
from ttrl_env.errors import TTRLError
from ttrl_env.robotwin.worker.layout import ACTION_DIM, JOINT_STATE


class CheckFailed(TTRLError, RuntimeError):
    """A fault of a checkpoint that would otherwise have stayed unnoticed."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A loaded policy, and the configuration of the training run that is to use it."""

    policy: TokenPolicy
    config: TrainConfig
    given: frozenset[str]
    """Keys of the configuration that the user set."""
    image_size: int
    """Height and width of images that the policy can use, pixels."""

    def inputs(self, instructions: Sequence[str], seed: int = 0) -> PolicyInputs:
        """Inputs with one row an instruction; all rows have the same random image, made from ``seed``."""
        observations = _random_observations(len(instructions), self._camera_shape, seed)
        return self.policy.prepare(observations, instructions)

    @property
    def _camera_shape(self) -> tuple[int, int]:
        """Height and width of the images that the policy is to see, pixels."""
        env = self.config.env
        if not plays_robotwin(env):
            return self.image_size, self.image_size
        asked = env.robotwin.image_height, env.robotwin.image_width
        try:
            getattr(self.policy, "check_image_shape", lambda *shape: None)(*asked)
        except ValueError:  # "image size" says so; the other checks go on with what it was trained on
            return _PUBLISHED_SHAPE
        return asked

    @torch.no_grad()
    def logprobs(self, inputs: PolicyInputs) -> Tensor:
        """Log-probabilities ``[rows, K]`` of fixed tokens at temperature 1, on the CPU."""
        rows = len(next(iter(inputs.values())))
        tokens = torch.arange(rows * self.num_tokens).view(rows, -1) % 255 + 1
        return self.policy.evaluate(inputs, tokens, torch.ones(rows)).logprobs.cpu()

    @property
    def num_tokens(self) -> int:
        """Number of tokens in a chunk."""
        return tokens_per_chunk(self.policy)

    @property
    def device(self) -> torch.device:
        """The device of the policy's weights."""
        return next(self.policy.parameters()).device


def _random_observations(rows: int, shape: tuple[int, int], seed: int) -> dict[str, NDArray[Any]]:
    """Observations with the same image in every row, and a resting arm.

    The image is random but blocky, because JPEG compression would remove pixel noise.
    """
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    height, width = shape
    tile = np.ones((-(-height // 4), -(-width // 4), 1), dtype=np.uint8)
    images = np.repeat(np.kron(coarse, tile)[None, :height, :width], rows, axis=0)
    return {
        **{f"{camera}_image": images for cameras in WORLDS.values() for camera in cameras},
        "robot0_eef_pos": np.zeros((rows, 3)),
        "robot0_eef_quat": np.tile([1.0, 0.0, 0.0, 0.0], (rows, 1)),
        "robot0_gripper_qpos": np.zeros((rows, 2)),
        JOINT_STATE: np.zeros((rows, ACTION_DIM)),
    }


_PUBLISHED_SHAPE = (240, 320)
"""Height and width of the images that RoboTwin's published policies were trained on, pixels."""

Check = Callable[[Subject], str]
"""A check returns a description of what it found, or raises :class:`CheckFailed`."""
