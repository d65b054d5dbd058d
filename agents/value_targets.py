"""Advantages and returns of a rollout under a value head, as it was before the update."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.configs import PPOConfig
from ttrl_env.agents.distributed import ALONE, World
from ttrl_env.agents.gae import gae_over_chunks, normalised
from ttrl_env.agents.minibatches import MicroBatch
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.trajectories import Rollout
from ttrl_env.agents.value_head import ValueHead, explained_variance


def value_targets(
    rollout: Rollout,
    spare: Rollout,
    batches: Iterable[MicroBatch],
    policy: TokenPolicy,
    value_head: ValueHead,
    config: PPOConfig,
    rows_at_once: int,
    world: World = ALONE,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Advantages and returns ``[M]`` float64 of all chunks, and the variance explained by the values.

    Variance and normalisation are over the chunks of all processes.

    Args:
        rollout: what was played.
        spare: one chunk, for passes that only other processes need.
        batches: all of its chunks, their ``old_values`` known, without spare ones.
        policy: gives the features of final observations, if values are bootstrapped.
        value_head: gives their values.
        config: discount, lambda, normalisation, bootstrapping.
        rows_at_once: final observations in one forward pass.
        world: the processes that have played at the same time.
    """
    values = np.zeros(len(rollout.tokens))
    for batch in batches:
        assert batch.old_values is not None
        values[batch.chunks.numpy()] = batch.old_values.cpu().numpy()
    final_values = None
    if config.bootstrap_truncated:
        final_values = _final_values(rollout, spare, policy, value_head, rows_at_once, world)
    advantages, returns = gae_over_chunks(
        rollout.chunk_rewards,
        values,
        rollout.trajectory,
        rollout.terminations,
        rollout.truncations,
        final_values=final_values,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
    )
    everyone = world.gather((values, returns, advantages))
    all_values, all_returns, all_advantages = (np.concatenate(each) for each in zip(*everyone, strict=True))
    explained = explained_variance(all_values, all_returns)
    if config.normalise_advantages:
        advantages = normalised(advantages, all_advantages)
    return advantages, returns, explained


@torch.no_grad()
def _final_values(
    rollout: Rollout,
    spare: Rollout,
    policy: TokenPolicy,
    value_head: ValueHead,
    rows_at_once: int,
    world: World,
) -> NDArray[np.float64]:
    """``[B]`` values of what trajectories cut off by the horizon would have seen next, 0 elsewhere."""
    values = np.zeros(rollout.num_trajectories)
    parts = [rows for rows in torch.arange(len(rollout.final_trajectory)).split(rows_at_once) if len(rows)]
    for rows in world.in_step(parts):
        chosen = torch.zeros(1, dtype=torch.int64) if rows is None else rows
        inputs = spare.inputs if rows is None else rollout.final_inputs
        inputs = {key: tensor[chosen] for key, tensor in inputs.items()}
        tokens = spare.tokens.expand(len(chosen), -1)  # features do not depend on them
        features = policy.evaluate(inputs, tokens, torch.ones(len(chosen))).features
        if rows is not None:
            values[rollout.final_trajectory[rows].numpy()] = value_head(features).cpu().numpy()
    return values
