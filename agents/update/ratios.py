"""What has one probability ratio: a token, or a whole chunk; and what its tokens weigh then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ttrl_env.agents.config.choices import RatioLevel
from ttrl_env.checks import check_choice


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """The ratios of ``M`` chunks of ``K`` tokens, one a token (``R = K``) or one a chunk (``R = 1``)."""

    log: Tensor
    """``[M, R]`` logarithm of the new probability over the old one."""
    weights: Tensor
    """``[M, R]`` what each ratio counts for in the loss."""
    token_weights: Tensor
    """``[M, K]`` what each token counts for: at ratio 1 the gradient of ``sum(weights * ratio)`` by the
    token's log-probability. Its entropy and KL weigh as much, so their coefficients mean the same at every
    level."""


def ratios_at(
    level: RatioLevel, log_ratios: Tensor, token_weights: Tensor, chunk_weights: Tensor | None
) -> Ratios:
    """The ratios of a level.

    - ``token``: one a token.
    - ``chunk``: one a chunk, of the joint probability of its executed tokens: the product of their ratios. So
      every token weighs as much as its chunk. The loss, entropy and KL included, is larger than at the other
      levels by the number of executed tokens, 56 for 8 actions of 7 tokens.
    - ``chunk-mean``: one a chunk, the geometric mean of its executed tokens' ratios. It is the
      length-normalised ratio of GSPO (Zheng et al. 2025, arXiv 2507.18071), with chunks for sequences. The
      loss is as large as with ``token``. Tokens' changes average out, so it wants a narrower clipping range.

    GSPO's own level, an episode, is not here. An episode's ratio needs all its chunks in one backward pass,
    and has no place for advantages that differ from chunk to chunk.

    Args:
        level: one of the three.
        log_ratios: ``[M, K]`` of the tokens, 0 where one was not executed.
        token_weights: ``[M, K]`` of :func:`~ttrl_env.agents.update.reductions.token_weights`.
        chunk_weights: ``[M]`` of :func:`~ttrl_env.agents.update.reductions.chunk_weights`; ``None`` for
            ``token``, which has no use for them.

    Raises:
        ValueError: an unknown level, chunk weights missing, or given without a use.
    """
    check_choice("ratio_level", level, get_args(RatioLevel))
    if (chunk_weights is None) != (level == "token"):
        wanted = "none" if level == "token" else "one for each chunk"
        raise ValueError(
            f"chunk_weights: expected {wanted} at ratio_level={level!r}, got "
            f"{'none' if chunk_weights is None else 'some'}"
        )
    if chunk_weights is None:
        return Ratios(log=log_ratios, weights=token_weights, token_weights=token_weights)
    executed, weights = token_weights > 0, chunk_weights[:, None]
    log, of_tokens = log_ratios.sum(dim=1, keepdim=True), torch.where(executed, weights, 0.0)
    if level == "chunk":
        return Ratios(log=log, weights=weights, token_weights=of_tokens)
    length = executed.sum(dim=1, keepdim=True).clamp(min=1)
    return Ratios(log=log / length, weights=weights, token_weights=of_tokens / length)
