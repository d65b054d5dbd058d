"""Policies, rollouts, the PPO agent and the command line.

Names are imported when first used, so that ``ttrl --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttrl_env.agents.advantages import group_advantage
    from ttrl_env.agents.config_loading import load_config
    from ttrl_env.agents.configs import PPOConfig, TrainConfig
    from ttrl_env.agents.evaluation import evaluate
    from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy, load_policy
    from ttrl_env.agents.policies.reference import frozen_reference
    from ttrl_env.agents.ppo import PPOAgent
    from ttrl_env.agents.rollout import collect_rollout
    from ttrl_env.agents.trajectories import Rollout

_HOMES = {
    "PPOAgent": "ppo",
    "PPOConfig": "configs",
    "Rollout": "trajectories",
    "TinyVLA": "policies",
    "TinyVLAConfig": "policies",
    "TokenPolicy": "policies",
    "TrainConfig": "configs",
    "collect_rollout": "rollout",
    "evaluate": "evaluation",
    "frozen_reference": "policies.reference",
    "group_advantage": "advantages",
    "load_config": "config_loading",
    "load_policy": "policies",
}

__all__ = [
    "PPOAgent",
    "PPOConfig",
    "Rollout",
    "TinyVLA",
    "TinyVLAConfig",
    "TokenPolicy",
    "TrainConfig",
    "collect_rollout",
    "evaluate",
    "frozen_reference",
    "group_advantage",
    "load_config",
    "load_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
