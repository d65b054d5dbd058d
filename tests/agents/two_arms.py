"""A policy for RoboTwin that a test can play in seconds."""

from __future__ import annotations

import torch

from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig


def make_two_armed_policy() -> TinyVLA:
    """Its joint targets are near 0.4, where the goals of ``tests.ttrl_env.robotwin.fake_simulation`` are."""
    torch.manual_seed(0)
    policy = TinyVLA(
        TinyVLAConfig(
            camera="head_camera",
            proprioception=True,
            image_size=16,
            hidden_size=32,
            num_layers=1,
            num_heads=2,
            chunk_steps=3,
            action_dim=14,
            action_low=0.0,
            action_high=0.8,
        )
    )
    with torch.no_grad():
        policy.head.bias.sub_(0.15 * (torch.arange(256) - 128.0).abs())
    return policy
