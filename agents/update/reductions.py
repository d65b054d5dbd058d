"""How a loss is reduced over tokens, chunks and trajectories: what each of them weighs."""

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
    *,
    num_tokens: int | None = None,
    max_tokens: int | None = None,
) -> Tensor:
    """Weights ``[M, K]`` float32 of the tokens of whole trajectories; 0 where a token was not executed.

    - ``trajectory-mean``: ``mask / (num_trajectories * tokens of the trajectory)``;
    - ``token-mean``: ``mask / tokens``;
    - ``token-sum-norm``: ``mask / (num_trajectories * max_tokens)``, the constant of Dr.GRPO (Liu et al.
      2025, arXiv 2503.20783): a token weighs the same in short and long trajectories.

    The first two sum to 1 if every trajectory executed something; one that executed nothing has no weight.
    The third sums to the mean share of ``max_tokens`` that was executed.

    Args:
        mask: ``[M, K]`` bool, tokens that were executed.
        trajectory: ``[M]`` int64, the trajectory of each chunk.
        num_trajectories: how many trajectories the loss is averaged over.
        reduction: see :data:`ttrl_env.agents.config.choices.Reduction`.
        num_tokens: executed tokens that the loss is averaged over, if ``mask`` holds a part of them only.
        max_tokens: the most tokens that a trajectory can execute; ``token-sum-norm`` needs it.

    Raises:
        ValueError: an unknown reduction, or ``token-sum-norm`` without ``max_tokens`` of at least 1.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    if reduction == "token-mean":
        return mask / (mask.sum() if num_tokens is None else torch.tensor(num_tokens)).clamp(min=1)
    if reduction == "token-sum-norm":
        if max_tokens is None or max_tokens < 1:
            raise ValueError(
                f"max_tokens: expected the most tokens that a trajectory can execute, which "
                f"reduction='token-sum-norm' divides by, got {max_tokens}"
            )
        return mask / float(num_trajectories * max_tokens)
    counts = torch.zeros(_length(trajectory), dtype=torch.float32, device=mask.device)
    counts.index_add_(0, trajectory, mask.sum(dim=1, dtype=torch.float32))
    return mask / (counts.clamp(min=1)[trajectory][:, None] * num_trajectories)


def chunk_weights(
    mask: Tensor,
    trajectory: Tensor,
    num_trajectories: int,
    reduction: Reduction = "trajectory-mean",
    *,
    num_chunks: int | None = None,
    max_chunks: int | None = None,
) -> Tensor:
    """Weights ``[M]`` float32 of chunks, every executed chunk of a trajectory alike.

    For what there is one of in a chunk: its probability ratio, the value before it. Arguments as for
    :func:`token_weights`, counted in chunks; "token-mean" counts all chunks alike.
    """
    executed = mask.any(dim=1, keepdim=True)
    weights = token_weights(
        executed, trajectory, num_trajectories, reduction, num_tokens=num_chunks, max_tokens=max_chunks
    )
    return weights[:, 0]


def _length(trajectory: Tensor) -> int:
    return int(trajectory.max()) + 1 if len(trajectory) else 0
