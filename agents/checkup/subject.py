"""What the checks of ``ttrl doctor CHECKPOINT`` are given: a loaded policy and the run it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.policies import PolicyInputs, TokenPolicy
from ttrl_env.engines.interface import ACTION_DIM
from ttrl_env.errors import TTRLError


class CheckFailed(TTRLError, RuntimeError):
    """Something that would have gone wrong silently."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A loaded policy and the training run it is meant for."""

    policy: TokenPolicy
    config: TrainConfig
    given: frozenset[str]
    """Keys of the configuration that were given, not left at their defaults."""
    image_size: int
    """Size of images the policy can see."""

    def inputs(self, instructions: Sequence[str], seed: int = 0) -> PolicyInputs:
        """Inputs of one row an instruction, all with the same random picture drawn from ``seed``."""
        observations = _random_observations(len(instructions), self.image_size, seed)
        return self.policy.prepare(observations, instructions)

    @torch.no_grad()
    def logprobs(self, inputs: PolicyInputs) -> Tensor:
        """Log-probabilities ``[rows, K]`` of fixed tokens at temperature 1, on the CPU."""
        rows = len(next(iter(inputs.values())))
        tokens = torch.arange(rows * self.num_tokens).view(rows, -1) % 255 + 1
        return self.policy.evaluate(inputs, tokens, torch.ones(rows)).logprobs.cpu()

    @property
    def num_tokens(self) -> int:
        """Tokens a chunk."""
        return self.policy.chunk_steps * ACTION_DIM

    @property
    def device(self) -> torch.device:
        """Where the policy computes."""
        return next(self.policy.parameters()).device


def _random_observations(rows: int, size: int, seed: int) -> dict[str, NDArray]:
    """The same smooth picture in every row (noise would not survive JPEG), and a resting arm."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    tile = np.ones((-(-size // 4), -(-size // 4), 1), dtype=np.uint8)
    image = np.kron(coarse, tile)[:size, :size]
    images = np.broadcast_to(image, (rows, size, size, 3))
    return {
        "agentview_image": images,
        "robot0_eye_in_hand_image": images,
        "robot0_eef_pos": np.zeros((rows, 3)),
        "robot0_eef_quat": np.tile([1.0, 0.0, 0.0, 0.0], (rows, 1)),
        "robot0_gripper_qpos": np.zeros((rows, 2)),
    }


Check = Callable[[Subject], str]
"""Returns what it found, or raises :class:`CheckFailed`."""
