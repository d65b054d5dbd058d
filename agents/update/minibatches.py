"""A rollout cut into the minibatches of an update, and those into micro-batches that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies import PolicyInputs
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.reductions import Reduction, chunk_weights, token_weights


@dataclass(kw_only=True)
class MicroBatch:
    """The chunks of one forward and backward pass: ``m`` of a rollout's ``M``."""

    rollout: Rollout = field(repr=False)
    chunks: Tensor
    """``[m]`` int64 which of the rollout's chunks."""
    token_weights: Tensor
    """``[m, K]`` what each token counts for in its minibatch's loss."""
    chunk_weights: Tensor
    """``[m]`` what each chunk counts for."""
    advantages: Tensor | None = None
    """``[m]`` float32."""
    returns: Tensor | None = None
    """``[m]`` float32 targets of the value head."""
    old_logprobs: Tensor | None = None
    """``[m, K]`` under the policy before the update; ``None`` until it has been evaluated."""
    old_values: Tensor | None = None
    """``[m]`` of the value head before the update."""
    reference_logprobs: Tensor | None = None
    """``[m, K]`` under the frozen reference."""
    spare: bool = False
    """Counts for nothing: a pass made because other processes make one."""

    @property
    def inputs(self) -> PolicyInputs:
        """The policy's inputs, copied out of the rollout each time they are needed."""
        return {key: tensor[self.chunks] for key, tensor in self.rollout.inputs.items()}

    @property
    def tokens(self) -> Tensor:
        """``[m, K]`` int64."""
        return self.rollout.tokens[self.chunks]

    @property
    def temperatures(self) -> Tensor:
        """``[m]`` float32, of each chunk's row."""
        return self.rollout.temperatures[self.rollout.trajectory[self.chunks]]

    @property
    def rollout_logprobs(self) -> Tensor:
        """``[m, K]`` as they were when the tokens were sampled."""
        return self.rollout.logprobs[self.chunks]


def make_minibatches(
    rollout: Rollout,
    trajectories: NDArray[np.int64],
    config: PPOConfig,
    micro_batch_chunks: int,
    rng: np.random.Generator,
    spare: Rollout | None = None,
    world: World = ALONE,
) -> list[list[MicroBatch]]:
    """``trajectories`` in random minibatches of whole trajectories, their chunks in micro-batches.

    Chunks that were never executed do not exist in a rollout, so there is no padding to leave out.
    The last minibatch may be smaller; a step averages over what its minibatch holds.

    Several processes divide their trajectories into the minibatches that one process with all of them
    would make. Each makes the micro-batches of its own, and as many spare ones, of the one chunk of
    ``spare``, as it takes to have equally many in every process.
    """
    number, total = _number_over_all_processes(rollout.draws[trajectories], world)
    size = config.minibatch_trajectories or max(total, 1)
    shuffled = rng.permutation(total)
    minibatches = []
    for start in range(0, total, size):
        members = shuffled[start : start + size]
        own = torch.from_numpy(trajectories[np.isin(number, members)])
        chunks = torch.isin(rollout.trajectory, own).nonzero()[:, 0]
        weights = _weights(rollout, chunks, len(members), config.loss_reduction, world)
        parts = zip(*(each.split(micro_batch_chunks) for each in (chunks, *weights)), strict=True)
        batches = [
            MicroBatch(rollout=rollout, chunks=part, token_weights=tokens, chunk_weights=chunk)
            for part, tokens, chunk in parts
            if len(part)
        ]
        minibatches.append([batch or _spare_batch(spare) for batch in world.in_step(batches)])
    return minibatches


def assign_targets(
    minibatches: Sequence[Sequence[MicroBatch]],
    advantages: NDArray[np.float64],
    returns: NDArray[np.float64] | None = None,
) -> None:
    """Give every micro-batch its part of the advantages and returns, both ``[M]``, of all chunks."""
    for minibatch in minibatches:
        for batch in minibatch:
            if batch.spare:
                batch.advantages = batch.returns = batch.chunk_weights  # zeros
                continue
            batch.advantages = torch.from_numpy(advantages).float()[batch.chunks]
            if returns is not None:
                batch.returns = torch.from_numpy(returns).float()[batch.chunks]


def _number_over_all_processes(draws: NDArray[np.int64], world: World) -> tuple[NDArray[np.int64], int]:
    """The place of each trajectory among those of all processes, and how many these are together.

    The order is the one in which a single process would have played them: a draw after the other, in
    each the first process's groups first. ``draws`` is in ascending order.
    """
    of_process = world.gather(draws)
    order = np.argsort(np.concatenate(of_process), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first = sum(len(each) for each in of_process[: world.rank])
    return place[first : first + len(draws)], len(order)


def _weights(
    rollout: Rollout, chunks: Tensor, num_trajectories: int, reduction: Reduction, world: World
) -> tuple[Tensor, Tensor]:
    """Token and chunk weights of this process's ``chunks`` in a minibatch of all processes."""
    mask, trajectory = rollout.mask[chunks], rollout.trajectory[chunks]
    counts = world.gather((int(mask.sum()), int(mask.any(dim=1).sum())))
    num_tokens, num_chunks = (sum(each) for each in zip(*counts, strict=True))
    return (
        token_weights(mask, trajectory, num_trajectories, reduction, num_tokens),
        chunk_weights(mask, trajectory, num_trajectories, reduction, num_chunks),
    )


def _spare_batch(chunk: Rollout | None) -> MicroBatch:
    """A micro-batch of one chunk that has no weight."""
    assert chunk is not None
    no_weight = torch.zeros(1)
    return MicroBatch(
        rollout=chunk,
        chunks=torch.zeros(1, dtype=torch.int64),
        token_weights=torch.zeros(chunk.tokens.shape),
        chunk_weights=no_weight,
        spare=True,
    )
