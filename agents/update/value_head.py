"""The value of an observation, read off a policy's features, and how it is trained."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ttrl_env.agents.update.losses import check_shapes


class ValueHead(nn.Module):
    """A small network from :attr:`~ttrl_env.agents.policies.protocol.TokenEvaluation.features` to a value.

    Features of a large model are large and unevenly scaled, so they are normalised first. The last
    layer starts at zero: every value is 0 until rewards have been seen.
    """

    def __init__(self, num_features: int, hidden_size: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # the same head whatever was sampled before
            torch.manual_seed(seed)
            self.hidden = nn.Sequential(
                nn.LayerNorm(num_features), nn.Linear(num_features, hidden_size), nn.GELU()
            )
            self.value = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Values ``[rows]`` float32 of features ``[rows, num_features]``."""
        return self.value(self.hidden(features.float()))[:, 0]


def value_loss(
    values: Tensor, returns: Tensor, old_values: Tensor, weights: Tensor, clip: float | None = None
) -> Tensor:
    """``sum_t w_t max(e(V_t), e(V_old + clip(V_t - V_old, -c, c)))`` with ``e(V) = (V - R_t)^2 / 2``.

    Without ``clip`` it is the plain weighted squared error. With it, a step gains nothing from moving
    a value further than ``clip`` from where it was before the update (Schulman et al.'s PPO code).

    Args:
        values: ``[M]`` of the current head.
        returns: ``[M]`` targets.
        old_values: ``[M]`` of the head before the update.
        weights: ``[M]`` what each chunk counts for.
        clip: ``c``, in units of reward.

    Raises:
        ValueError: an array of another shape, which would be broadcast, or a clip that is not above 0.
    """
    check_shapes(values.shape, {"returns": returns, "old_values": old_values, "weights": weights})
    if clip is not None and not clip > 0:
        raise ValueError(f"clip: expected a number above 0, or None for none, got {clip}")
    errors = (values - returns).square()
    if clip is not None:
        moved = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (moved - returns).square())
    return 0.5 * (weights * errors).sum()


def explained_variance(values: ArrayLike, returns: ArrayLike) -> float:
    """``1 - Var(R - V) / Var(R)``: 1 is a perfect value head, 0 one no better than a constant.

    NaN where all returns are equal: there is no variance to explain.
    """
    values, returns = np.asarray(values, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    variance = returns.var() if returns.size else 0.0
    return float(1 - (returns - values).var() / variance) if variance > 0 else float("nan")
