"""Policies, rollouts, the PPO agent and the command line.

Names are imported when first used, so that ``ttrl --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttrl_env.agents.config.loading import load_config
    from ttrl_env.agents.config.schema import PPOConfig, TrainConfig
    from ttrl_env.agents.evaluation.evaluate import evaluate
    from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy, load_policy
    from ttrl_env.agents.policies.reference import frozen_reference
    from ttrl_env.agents.rollout.collect import collect_rollout
    from ttrl_env.agents.rollout.types import Rollout
    from ttrl_env.agents.update.advantages import group_advantage
    from ttrl_env.agents.update.ppo import PPOAgent

_HOMES = {
    "PPOAgent": "update.ppo",
    "PPOConfig": "config.schema",
    "Rollout": "rollout.types",
    "TinyVLA": "policies",
    "TinyVLAConfig": "policies",
    "TokenPolicy": "policies",
    "TrainConfig": "config.schema",
    "collect_rollout": "rollout.collect",
    "evaluate": "evaluation.evaluate",
    "frozen_reference": "policies.reference",
    "group_advantage": "update.advantages",
    "load_config": "config.loading",
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
