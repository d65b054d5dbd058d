"""Advantages and returns of a rollout under a value head, as it was before the update."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.config.schema import GAEConfig
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.gae import gae_over_chunks, normalised
from ttrl_env.agents.update.minibatches import MicroBatch
from ttrl_env.agents.update.value_head import ValueHead, explained_variance


def value_targets(
    rollout: Rollout,
    batches: Iterable[MicroBatch],
    policy: TokenPolicy,
    value_head: ValueHead,
    config: GAEConfig,
    rows_at_once: int,
    spare: Rollout | None = None,
    world: World = ALONE,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Advantages and returns ``[M]`` float64 of all chunks, and the variance explained by the values.

    Variance and normalisation are over the chunks of all processes.

    Args:
        rollout: what was played.
        batches: all of its chunks, their ``old_values`` known, without spare ones.
        policy: gives the features of final observations, if values are bootstrapped.
        value_head: gives their values.
        config: discount, lambda, normalisation, bootstrapping.
        rows_at_once: final observations in one forward pass.
        spare: one chunk, for passes that only other processes need.
        world: the processes that have played at the same time.
    """
    values = np.zeros(len(rollout.tokens))
    for batch in batches:
        assert batch.old_values is not None
        values[batch.chunks.numpy()] = batch.old_values.cpu().numpy()
    final_values = None
    if config.bootstrap_truncated:
        final_values = _final_values(rollout, policy, value_head, rows_at_once, spare, world)
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
    everyone = world.gather((values, returns, advantages))
    all_values, all_returns, all_advantages = (np.concatenate(each) for each in zip(*everyone, strict=True))
    explained = explained_variance(all_values, all_returns)
    if config.normalise_advantages:
        advantages = normalised(advantages, all_advantages)
    return advantages, returns, explained


@torch.no_grad()
def _final_values(
    rollout: Rollout,
    policy: TokenPolicy,
    value_head: ValueHead,
    rows_at_once: int,
    spare: Rollout | None,
    world: World,
) -> NDArray[np.float64]:
    """``[B]`` values of what trajectories cut off by the horizon would have seen next, 0 elsewhere."""
    values = np.zeros(rollout.num_trajectories)
    parts = [rows for rows in torch.arange(len(rollout.final_trajectory)).split(rows_at_once) if len(rows)]
    for rows in world.in_step(parts):
        if rows is None:
            assert spare is not None
            policy.evaluate(spare.inputs, spare.tokens, torch.ones(1))
            continue
        inputs = {key: tensor[rows] for key, tensor in rollout.final_inputs.items()}
        tokens = rollout.tokens[:1].expand(len(rows), -1)  # features do not depend on them
        features = policy.evaluate(inputs, tokens, torch.ones(len(rows))).features
        values[rollout.final_trajectory[rows].numpy()] = value_head(features).cpu().numpy()
    return values
