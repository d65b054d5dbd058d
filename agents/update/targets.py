"""What an update pulls the policy and its value head towards: advantages and returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.choices import GroupEstimator
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.lockstep import Chunks, Lockstep
from ttrl_env.agents.policies.protocol import UpdatedPolicy
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.advantages import group_advantage
from ttrl_env.agents.update.critic import Critic, CriticReport, CriticSamples
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
    critic: CriticReport | None = None
    """How well the critic predicted the rollout; ``None`` without one."""


def group_targets(rollout: Rollout, estimator: GroupEstimator) -> Targets:
    """Every chunk has the advantage of its trajectory in its group."""
    per_trajectory = group_advantage(rollout.rewards, rollout.groups, estimator)
    return Targets(advantages=per_trajectory[rollout.trajectory.numpy()])


def value_targets(
    rollout: Rollout,
    values: NDArray[np.float64],
    final_values: NDArray[np.float64] | None,
    *,
    gamma: float,
    lam: float,
    normalise: bool,
    world: World,
) -> Targets:
    """Generalised advantages over the value head as it was before the update, and its returns.

    Args:
        rollout: what was played.
        values: ``[M]`` values of the observations before each chunk.
        final_values: see :func:`final_values`; ``None`` bootstraps nothing.
        gamma: discount of a chunk.
        lam: GAE's lambda.
        normalise: shift and scale the advantages of all processes to mean 0 and standard deviation 1.
        world: the processes whose chunks variance and normalisation are about.
    """
    advantages, returns = gae_over_chunks(
        rollout.chunk_rewards,
        values,
        rollout.trajectory,
        rollout.terminations,
        rollout.truncations,
        final_values=final_values,
        gamma=gamma,
        gae_lambda=lam,
    )
    everyones = world.gather((values, returns, advantages))
    all_values, all_returns, all_advantages = (np.concatenate(each) for each in zip(*everyones, strict=True))
    if normalise:
        advantages = normalised(advantages, all_advantages)
    explained = explained_variance(all_values, all_returns)
    return Targets(advantages=advantages, returns=returns, explained_variance=explained)


def critic_targets(
    rollout: Rollout, features: Tensor, critic: Critic, rng: np.random.Generator, world: World
) -> Targets:
    """Generalised advantages over the critic's values; the critic learns from the rollout afterwards.

    Every process gathers all samples in the order of a single process, so all have the same critic.

    Args:
        rollout: what was played.
        features: ``[M, num_features]`` float32 of the observations before each chunk.
        critic: what predicts the returns.
        rng: which samples its steps see; the same in every process.
        world: the processes.

    Raises:
        ValueError: a return outside [0, 1], or an environment without a horizon.
    """
    nothing = np.zeros(len(rollout.tokens))
    ends = (rollout.terminations, rollout.truncations)
    returns, _ = gae_over_chunks(rollout.chunk_rewards, nothing, rollout.trajectory, *ends, gae_lambda=1.0)
    _check_predictable(returns, rollout.elapsed.numpy())
    own = CriticSamples(
        features=features,
        elapsed=rollout.elapsed,
        temperatures=rollout.temperatures[rollout.trajectory],
        privileged=_privileged(rollout, critic),
        returns=torch.from_numpy(returns).float(),
    )
    place = np.stack([rollout.draws[rollout.trajectory], rollout.trajectory.numpy()])
    samples, places = zip(*world.gather((own, place)), strict=True)
    ranks = np.repeat(np.arange(world.size), [each.shape[1] for each in places])
    draws, trajectories = np.concatenate(places, axis=1)
    order = np.lexsort((trajectories, ranks, draws))  # stable: a trajectory's chunks stay in their order
    everyones = CriticSamples.join(samples).select(torch.from_numpy(order))
    values = critic.values(everyones)
    own_values = np.empty(len(order))
    own_values[order] = values.numpy()
    targets = value_targets(
        rollout,
        own_values[ranks == world.rank],
        None,
        gamma=1.0,
        lam=critic.config.lam,
        normalise=critic.config.normalise_advantages,
        world=world,
    )
    return replace(targets, critic=critic.learn(everyones, values, rng))


def _privileged(rollout: Rollout, critic: Critic) -> Tensor:
    """``[M, P]`` what the critic may see of it."""
    if not critic.config.privileged_state:
        return torch.empty(len(rollout.tokens), 0)
    if not rollout.privileged.shape[1]:
        raise ValueError(
            "rollout: ppo.critic.privileged_state=true needs what the simulator knew, and this rollout has "
            "none; play it with collect_rollout(..., keep_privileged_state=True)"
        )
    return rollout.privileged


def _check_predictable(returns: NDArray[np.float64], elapsed: NDArray[np.float32]) -> None:
    outside = returns[~((returns >= 0) & (returns <= 1))]
    if outside.size:
        raise ValueError(
            f"ppo.advantage=critic predicts returns from 0 to 1, as success and the efficiency reward give; "
            f"this environment's are as far as {outside[np.abs(outside).argmax()]:g}. ppo.advantage=gae "
            f"takes any reward"
        )
    if np.isnan(elapsed).any():
        raise ValueError(
            "ppo.advantage=critic needs to know how much of the horizon has passed, and the environment has "
            "no max_steps. Give it that attribute, or take ppo.advantage=gae"
        )


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
