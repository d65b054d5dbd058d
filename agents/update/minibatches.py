"""A rollout cut into the minibatches of an update, and those into micro-batches that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.choices import Reduction
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.lockstep import Chunks, Lockstep
from ttrl_env.agents.policies.protocol import UpdatedPolicy
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.reductions import chunk_weights, token_weights
from ttrl_env.agents.update.targets import Targets


@dataclass(kw_only=True)
class MicroBatch:
    """The chunks of one forward and backward pass: ``m`` of a rollout's ``M``."""

    source: Chunks = field(repr=False)
    """All chunks of the rollout."""
    chunks: Tensor
    """``[m]`` int64 which of them."""
    token_weights: Tensor
    """``[m, K]`` what each token counts for in its minibatch's loss."""
    chunk_weights: Tensor
    """``[m]`` what each chunk counts for."""
    rollout_logprobs: Tensor
    """``[m, K]`` as they were when the tokens were sampled."""
    advantages: Tensor | None = None
    """``[m]`` float32."""
    returns: Tensor | None = None
    """``[m]`` float32 targets of the value head."""
    old_logprobs: Tensor | None = None
    """``[m, K]`` under the policy before the update; ``None`` until it has been evaluated."""
    old_values: Tensor | None = None
    """``[m]`` of the value head before the update."""
    features: Tensor | None = None
    """``[m, num_features]`` float32 on the CPU, of the policy before the update; kept for a critic."""
    reference_logprobs: Tensor | None = None
    """``[m, K]`` under the frozen reference."""
    padding: bool = False
    """Counts for nothing: a pass that is made because other processes make one."""

    def select(self) -> Chunks:
        """Its own chunks, each at its row's temperature; copied out of the rollout at every call."""
        return self.source.select(self.chunks)


def make_minibatches(
    rollout: Rollout,
    trajectories: NDArray[np.int64],
    config: PPOConfig,
    micro_batch_chunks: int,
    rng: np.random.Generator,
    lockstep: Lockstep[UpdatedPolicy],
) -> list[list[MicroBatch]]:
    """``trajectories`` in random minibatches of whole trajectories, their chunks in micro-batches.

    Chunks that were never executed do not exist in a rollout, so there is no padding to leave out.
    The last minibatch may be smaller; a step averages over what its minibatch holds.

    Several processes divide their trajectories into the minibatches that one process with all of them
    would make. Each has the micro-batches of its own, padded to equally many in every process.

    Raises:
        ValueError: ``token-sum-norm`` of a rollout without a horizon.
    """
    longest = _longest_trajectory(rollout, config.loss_reduction, lockstep.policy.chunk_steps)
    everyones = _number_over_all_processes(rollout, trajectories, lockstep.world)
    total = len(everyones.num_tokens)
    size = config.minibatch_trajectories or max(total, 1)
    shuffled = rng.permutation(total)
    minibatches = []
    for start in range(0, total, size):
        members = shuffled[start : start + size]
        own = torch.from_numpy(trajectories[np.isin(everyones.own, members)])
        chunks = torch.isin(rollout.trajectory, own).nonzero()[:, 0]
        weights = _weights(rollout, chunks, everyones, members, config.loss_reduction, longest)
        batches = _micro_batches(rollout, chunks, weights, micro_batch_chunks)
        minibatches.append(lockstep.padded(batches, _padding))
    return minibatches


def assign_targets(minibatches: Iterable[Sequence[MicroBatch]], targets: Targets) -> None:
    """Give every micro-batch its part of the advantages and returns."""
    for batch in own_batches(minibatches):
        batch.advantages = torch.from_numpy(targets.advantages).float()[batch.chunks]
        if targets.returns is not None:
            batch.returns = torch.from_numpy(targets.returns).float()[batch.chunks]


def own_batches(minibatches: Iterable[Sequence[MicroBatch]]) -> list[MicroBatch]:
    """The micro-batches of all minibatches, without padding."""
    return [batch for minibatch in minibatches for batch in minibatch if not batch.padding]


@dataclass(frozen=True, kw_only=True)
class _Trajectories:
    """The trajectories of all processes, in the order in which a single one would have played them."""

    own: NDArray[np.int64]
    """Places of this process's among them."""
    num_tokens: NDArray[np.int64]
    """Executed tokens of each."""
    num_chunks: NDArray[np.int64]
    """Executed chunks of each."""


def _number_over_all_processes(
    rollout: Rollout, trajectories: NDArray[np.int64], world: World
) -> _Trajectories:
    """A draw after the other, in each the first process's groups first; own draws are in ascending order."""
    executed = [rollout.mask.sum(dim=1), rollout.mask.any(dim=1).long()]
    nothing = torch.zeros(rollout.num_trajectories, dtype=torch.int64)
    counts = [nothing.index_add(0, rollout.trajectory, each).numpy()[trajectories] for each in executed]
    of_process = world.gather(np.stack([rollout.draws[trajectories], *counts]))
    draws, num_tokens, num_chunks = np.concatenate(of_process, axis=1)
    order = np.argsort(draws, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first = sum(each.shape[1] for each in of_process[: world.rank])
    own = place[first : first + len(trajectories)]
    return _Trajectories(own=own, num_tokens=num_tokens[order], num_chunks=num_chunks[order])


def _longest_trajectory(rollout: Rollout, reduction: Reduction, chunk_steps: int) -> tuple[int, int] | None:
    """The most tokens and the most chunks that a trajectory can execute; ``None`` without a horizon."""
    if rollout.max_steps is None:
        if reduction == "token-sum-norm":
            raise ValueError(
                "ppo.loss_reduction=token-sum-norm divides by the most tokens that an episode can execute, "
                "and the environment has no max_steps. Give it that attribute, or take "
                "ppo.loss_reduction=token-mean"
            )
        return None
    tokens_per_step = rollout.mask.shape[1] // chunk_steps
    return rollout.max_steps * tokens_per_step, math.ceil(rollout.max_steps / chunk_steps)


def _weights(
    rollout: Rollout,
    chunks: Tensor,
    everyones: _Trajectories,
    members: NDArray[np.int64],
    reduction: Reduction,
    longest: tuple[int, int] | None,
) -> tuple[Tensor, Tensor]:
    """Token and chunk weights of this process's ``chunks`` in the minibatch of ``members``."""
    max_tokens, max_chunks = longest or (None, None)
    mask, trajectory = rollout.mask[chunks], rollout.trajectory[chunks]
    num_tokens, num_chunks = (
        int(each[members].sum()) for each in (everyones.num_tokens, everyones.num_chunks)
    )
    return (
        token_weights(
            mask, trajectory, len(members), reduction, num_tokens=num_tokens, max_tokens=max_tokens
        ),
        chunk_weights(
            mask, trajectory, len(members), reduction, num_chunks=num_chunks, max_chunks=max_chunks
        ),
    )


def _micro_batches(
    rollout: Rollout, chunks: Tensor, weights: tuple[Tensor, Tensor], size: int
) -> list[MicroBatch]:
    """``chunks`` and their weights in parts of at most ``size``."""
    source = rollout.chunks
    parts = zip(*(each.split(size) for each in (chunks, *weights)), strict=True)
    return [
        MicroBatch(
            source=source,
            chunks=part,
            token_weights=of_tokens,
            chunk_weights=of_chunks,
            rollout_logprobs=rollout.logprobs[part],
        )
        for part, of_tokens, of_chunks in parts
        if len(part)
    ]


def _padding(row: Chunks) -> MicroBatch:
    """A micro-batch of one chunk without weight."""
    nothing = torch.zeros(1)
    return MicroBatch(
        source=row,
        chunks=torch.zeros(1, dtype=torch.int64),
        token_weights=torch.zeros(row.tokens.shape),
        chunk_weights=nothing,
        rollout_logprobs=torch.zeros(row.tokens.shape),
        advantages=nothing,
        returns=nothing,
        padding=True,
    )
