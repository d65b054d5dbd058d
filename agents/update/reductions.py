"""How a loss is averaged over tokens, chunks and trajectories: as weights that sum to 1."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from ttrl_env.agents.config.choices import Reduction
from ttrl_env.checks import check_choice


def token_weights(
    mask: Tensor,
    trajectory: Tensor,
    num_trajectories: int,
    reduction: Reduction = "trajectory-mean",
    num_tokens: int | None = None,
) -> Tensor:
    """Weights ``[M, K]`` float32 of the tokens of whole trajectories; 0 where a token was not executed.

    ``mask / (num_trajectories * tokens of the trajectory)`` or ``mask / tokens``. They sum to 1 if
    every trajectory executed something; one that executed nothing has no weight.

    Args:
        mask: ``[M, K]`` bool, tokens that were executed.
        trajectory: ``[M]`` int64, the trajectory of each chunk.
        num_trajectories: how many trajectories the loss is averaged over.
        reduction: see :data:`ttrl_env.agents.config.choices.Reduction`.
        num_tokens: executed tokens that the loss is averaged over, if ``mask`` holds a part of them only.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    if reduction == "token-mean":
        return mask / (mask.sum() if num_tokens is None else torch.tensor(num_tokens)).clamp(min=1)
    counts = torch.zeros(_length(trajectory), dtype=torch.float32, device=mask.device)
    counts.index_add_(0, trajectory, mask.sum(dim=1, dtype=torch.float32))
    return mask / (counts.clamp(min=1)[trajectory][:, None] * num_trajectories)


def chunk_weights(
    mask: Tensor,
    trajectory: Tensor,
    num_trajectories: int,
    reduction: Reduction = "trajectory-mean",
    num_chunks: int | None = None,
) -> Tensor:
    """Weights ``[M]`` float32 of chunks, every executed chunk of a trajectory alike.

    For what there is one of in a chunk: its probability ratio, the value before it. Arguments as for
    :func:`token_weights`; "token-mean" counts all chunks alike.
    """
    executed = mask.any(dim=1, keepdim=True)
    return token_weights(executed, trajectory, num_trajectories, reduction, num_chunks)[:, 0]


def _length(trajectory: Tensor) -> int:
    return int(trajectory.max()) + 1 if len(trajectory) else 0
