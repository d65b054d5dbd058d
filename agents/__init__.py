"""Policies, rollouts, the PPO agent and the command line.

Names are imported when first used, so that ``ttrl --help`` does not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttrl_env.agents.common.lazy_names import imported_when_used

if TYPE_CHECKING:
    from ttrl_env.agents.config.loading import load_config
    from ttrl_env.agents.config.schema import PPOConfig, TrainConfig
    from ttrl_env.agents.evaluation.evaluate import evaluate
    from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy, load_policy, register_policy
    from ttrl_env.agents.policies.reference import frozen_reference
    from ttrl_env.agents.rollout.collect import collect_rollout
    from ttrl_env.agents.rollout.types import Rollout
    from ttrl_env.agents.update.advantages import group_advantage
    from ttrl_env.agents.update.ppo import PPOAgent

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
    "register_policy",
]

__getattr__ = imported_when_used(
    __name__,
    {
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
        "register_policy": "policies",
    },
)
