"""What an update pulls the policy and its value head towards: advantages and returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.config.choices import GroupEstimator
from ttrl_env.agents.config.schema import GAEConfig
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.lockstep import Chunks, Lockstep
from ttrl_env.agents.policies.protocol import UpdatedPolicy
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.advantages import group_advantage
from ttrl_env.agents.update.gae import gae_over_chunks, normalised
from ttrl_env.agents.update.value_head import ValueHead, explained_variance


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Of the ``M`` chunks of a rollout."""

    advantages: NDArray[np.float64]
    """``[M]``."""
    returns: NDArray[np.float64] | None = None
    """``[M]`` what the value head should say; ``None`` without one."""
    explained_variance: float | None = None
    """Of the returns by the values before the update; ``None`` without a value head."""


def group_targets(rollout: Rollout, estimator: GroupEstimator) -> Targets:
    """Every chunk has the advantage of its trajectory in its group."""
    per_trajectory = group_advantage(rollout.rewards, rollout.groups, estimator)
    return Targets(advantages=per_trajectory[rollout.trajectory.numpy()])


def value_targets(
    rollout: Rollout,
    values: NDArray[np.float64],
    final_values: NDArray[np.float64] | None,
    config: GAEConfig,
    world: World,
) -> Targets:
    """Generalised advantages over the value head as it was before the update, and its returns.

    Args:
        rollout: what was played.
        values: ``[M]`` values of the observations before each chunk.
        final_values: see :func:`final_values`; ``None`` bootstraps nothing.
        config: discount, lambda, normalisation.
        world: the processes whose chunks variance and normalisation are about.
    """
    advantages, returns = gae_over_chunks(
        rollout.chunk_rewards,
        values,
        rollout.trajectory,
        rollout.terminations,
        rollout.truncations,
        final_values=final_values,
        gamma=config.gamma,
        gae_lambda=config.lam,
    )
    everyones = world.gather((values, returns, advantages))
    all_values, all_returns, all_advantages = (np.concatenate(each) for each in zip(*everyones, strict=True))
    if config.normalise_advantages:
        advantages = normalised(advantages, all_advantages)
    explained = explained_variance(all_values, all_returns)
    return Targets(advantages=advantages, returns=returns, explained_variance=explained)


@torch.no_grad()
def final_values(
    rollout: Rollout, lockstep: Lockstep[UpdatedPolicy], value_head: ValueHead, rows_at_once: int
) -> NDArray[np.float64]:
    """``[B]`` values of what trajectories cut off by the horizon would have seen next, 0 elsewhere."""
    values = np.zeros(rollout.num_trajectories)
    cut_off = rollout.final_trajectory
    ends = Chunks(
        inputs=rollout.final_inputs,
        tokens=rollout.tokens[:1].expand(len(cut_off), -1),  # features do not depend on them
        temperatures=torch.ones(len(cut_off)),
    )
    for rows, evaluation in lockstep.evaluate(ends, rows_at_once):
        values[cut_off[rows].numpy()] = value_head(evaluation.features).cpu().numpy()
    return values
