"""The clipped policy loss and its diagnostics, as pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LossDiagnostics:
    """What to look at when a PPO update misbehaves; weighted means over the tokens of one loss."""

    ratio: float
    """Mean of ``pi_new / pi_old``; 1 before the first step of an update."""
    ratio_max: float
    """Largest ratio."""
    clip_fraction: float
    """Share of tokens whose ratio was clipped."""
    approx_kl: float
    """``E[(ratio - 1) - log ratio]``, Schulman's low-variance estimate of KL(old || new), nats a token."""
    entropy: float
    """Mean entropy of the token distributions at their rows' temperatures, nats."""


def token_weights(mask: Tensor, trajectory: Tensor, num_trajectories: int) -> Tensor:
    """Weights that average over a trajectory's tokens first and then over trajectories.

    ``w = mask / (num_trajectories * tokens of the trajectory)``: long and short trajectories count
    the same (SimpleVLA-RL's reduction). They sum to 1 over a batch that holds every trajectory whole.

    Args:
        mask: ``[M, K]`` bool, tokens that were executed.
        trajectory: ``[M]`` int64, the trajectory of each chunk.
        num_trajectories: how many trajectories the loss is averaged over.
    """
    counts = torch.zeros(int(trajectory.max()) + 1, dtype=torch.float32, device=mask.device)
    counts.index_add_(0, trajectory, mask.sum(dim=1, dtype=torch.float32))
    return mask / (counts[trajectory][:, None] * num_trajectories)


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    entropies: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    entropy_coef: float,
) -> tuple[Tensor, LossDiagnostics]:
    """PPO's clipped surrogate over tokens (Schulman et al. 2017), with DAPO's separate upper clip.

    ``L = -sum_t w_t [ min(r_t A_t, clip(r_t, 1 - clip_low, 1 + clip_high) A_t) + c H_t ]`` with
    ``r_t = exp(logprobs_t - old_logprobs_t)``, both log-probabilities at the row's own temperature.

    Args:
        logprobs: ``[M, K]`` under the current policy.
        old_logprobs: ``[M, K]`` under the policy before the update.
        entropies: ``[M, K]`` of the current policy.
        advantages: ``[M]`` of each chunk's trajectory.
        weights: ``[M, K]`` from :func:`token_weights`; 0 where a token was not executed.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above.
        entropy_coef: weight of the entropy bonus.

    Returns:
        The scalar loss and its diagnostics.
    """
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
    loss = -(weights * (gain + entropy_coef * entropies)).sum()
    with torch.no_grad():
        total = weights.sum()

        def mean(values: Tensor) -> float:
            return float((weights * values).sum() / total)

        diagnostics = LossDiagnostics(
            ratio=mean(ratio),
            ratio_max=float(ratio[weights > 0].max()),
            clip_fraction=mean((ratio != clipped).float()),
            approx_kl=mean(ratio - 1 - log_ratio),
            entropy=mean(entropies),
        )
    return loss, diagnostics
