"""A TinyVLA with random weights, and inputs for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig


def tiny_vla(device: torch.device | str = "cpu", *, small: bool = False) -> TinyVLA:
    """The policy that a training run starts with by default; ``small`` is for dry runs."""
    torch.manual_seed(0)
    policy = TinyVLA(TinyVLAConfig(image_size=16, hidden_size=16) if small else TinyVLAConfig())
    nn.Module.to(policy, device)  # the types of Transformers' own are wrong
    return policy


def tiny_vla_inputs(policy: TinyVLA, rows: int) -> dict[str, Tensor]:
    """Random images and words in the format of ``prepare``."""
    size = policy.config.image_size
    return {
        "pixels": torch.randint(256, (rows, 3, size, size), dtype=torch.uint8),
        "word_ids": torch.full((rows, policy.config.max_words), 7),
    }
