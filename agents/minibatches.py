"""A rollout cut into the minibatches of an update, and those into micro-batches that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.configs import PPOConfig
from ttrl_env.agents.policies import PolicyInputs
from ttrl_env.agents.reductions import Reduction, chunk_weights, token_weights
from ttrl_env.agents.trajectories import Rollout


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
) -> list[list[MicroBatch]]:
    """``trajectories`` in random minibatches of whole trajectories, their chunks in micro-batches.

    Chunks that were never executed do not exist in a rollout, so there is no padding to leave out.
    The last minibatch may be smaller; a step averages over what its minibatch holds.
    """
    size = config.minibatch_trajectories or max(len(trajectories), 1)
    reduction = cast(Reduction, config.loss_reduction)
    shuffled = rng.permutation(trajectories)
    minibatches = []
    for start in range(0, len(shuffled), size):
        members = torch.from_numpy(shuffled[start : start + size])
        chunks = torch.isin(rollout.trajectory, members).nonzero()[:, 0]
        mask, trajectory = rollout.mask[chunks], rollout.trajectory[chunks]
        parts = zip(
            chunks.split(micro_batch_chunks),
            token_weights(mask, trajectory, len(members), reduction).split(micro_batch_chunks),
            chunk_weights(mask, trajectory, len(members), reduction).split(micro_batch_chunks),
            strict=True,
        )
        minibatches.append(
            [
                MicroBatch(rollout=rollout, chunks=part, token_weights=tokens, chunk_weights=weights)
                for part, tokens, weights in parts
            ]
        )
    return minibatches


def assign_targets(
    minibatches: Sequence[Sequence[MicroBatch]],
    advantages: NDArray[np.float64],
    returns: NDArray[np.float64] | None = None,
) -> None:
    """Give every micro-batch its part of the advantages and returns, both ``[M]``, of all chunks."""
    for minibatch in minibatches:
        for batch in minibatch:
            batch.advantages = torch.from_numpy(advantages).float()[batch.chunks]
            if returns is not None:
                batch.returns = torch.from_numpy(returns).float()[batch.chunks]
