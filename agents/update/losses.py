"""The clipped policy loss and its diagnostics, as pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ttrl_env.agents.config.choices import KLEstimator, RatioLevel
from ttrl_env.agents.update.kl import kl_estimates
from ttrl_env.agents.update.ratios import ratios_at


@dataclass(frozen=True, kw_only=True)
class LossDiagnostics:
    """What to look at when a PPO update misbehaves; means, weighted as the loss weighs."""

    weight: float
    """Sum of its ratios' weights in the loss: 1 for a whole minibatch, or less with ``token-sum-norm``."""
    token_weight: float
    """Sum of its tokens' weights, for means over tokens."""
    loss: float
    """The policy loss, entropy bonus and KL penalty included."""
    ratio: float
    """Mean of ``pi_new / pi_old``; 1 before the first step of an update."""
    ratio_max: float
    """Largest ratio."""
    clip_fraction: float
    """Share of ratios outside the clipping range: the sum of the next two."""
    clip_fraction_low: float
    """Share of ratios below ``1 - clip_low``."""
    clip_fraction_high: float
    """Share of ratios above ``1 + clip_high``."""
    dual_clip_fraction: float
    """Share whose loss the dual clip bounds; 0 without it."""
    approx_kl: float
    """Schulman's "k3" estimate of KL(old || new), nats a token whatever has a ratio."""
    reference_kl: float
    """The same estimate of KL(new || reference), nats a token; 0 without a reference."""
    entropy: float
    """Mean entropy of the token distributions at their rows' temperatures, nats."""
    chunk_weight: float = 0.0
    """Sum of its chunks' weights in the value loss; 0 without a value head."""
    value_loss: float = 0.0
    """Half the mean squared error of the value head; 0 without one."""


_WEIGHTS = {
    "approx_kl": "token_weight",
    "reference_kl": "token_weight",
    "entropy": "token_weight",
    "value_loss": "chunk_weight",
}
"""By which field a mean is weighted where micro-batches are put together; by default by ``weight``."""

_SUMS = ("weight", "token_weight", "chunk_weight", "loss")
"""Fields that are sums, not means."""


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    entropies: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    clip_ratio_c: float | None = None,
    entropy_coef: float = 0.0,
    ratio_level: RatioLevel = "token",
    chunk_weights: Tensor | None = None,
    reference_logprobs: Tensor | None = None,
    kl_coef: float = 0.0,
    kl_estimator: KLEstimator = "k3",
) -> tuple[Tensor, LossDiagnostics]:
    """PPO's clipped surrogate (Schulman et al. 2017), with DAPO's separate upper clip.

    ``L = - sum_i w_i min(r_i A_i, clip(r_i, 1 - clip_low, 1 + clip_high) A_i) - sum_t u_t (c H_t - k K_t)``
    with the ratios ``r_i = pi_new / pi_old``, all log-probabilities at the row's own temperature.

    - A token or a chunk has a ratio ``r_i``, see :func:`~ttrl_env.agents.update.ratios.ratios_at`.
    - ``u_t`` is what a token's log-probability weighs in the first sum at ratio 1. So ``c`` and ``k`` trade
      entropy ``H_t`` and divergence ``K_t`` against advantages at one rate, whatever has a ratio.
    - Dual clip (Ye et al. 2020): where ``A_i < 0`` the surrogate is at least ``clip_ratio_c A_i``, which
      bounds the loss of a token that has become far likelier than it was.
    - ``K_t`` estimates KL(policy || reference), see :func:`~ttrl_env.agents.update.kl.kl_estimates`.

    Args:
        logprobs: ``[M, K]`` under the current policy.
        old_logprobs: ``[M, K]`` under the policy before the update.
        entropies: ``[M, K]`` of the current policy.
        advantages: ``[M]`` of each chunk.
        weights: ``[M, K]`` from :func:`~ttrl_env.agents.update.reductions.token_weights`. Where they are 0
            the other arrays are not read, whatever they hold.
        clip_low: how far the ratio may fall below 1.
        clip_high: how far it may rise above.
        clip_ratio_c: the dual clip's bound, above 1; ``None`` leaves it out.
        entropy_coef: weight ``c`` of the entropy bonus.
        ratio_level: what has a ratio.
        chunk_weights: ``[M]`` from :func:`~ttrl_env.agents.update.reductions.chunk_weights`, given exactly if
            chunks have the ratios.
        reference_logprobs: ``[M, K]`` under a frozen reference policy.
        kl_coef: weight ``k`` of the penalty.
        kl_estimator: which estimate the penalty is; the diagnostics are always "k3".

    Returns:
        The scalar loss and its diagnostics.

    Raises:
        ValueError: an array of another shape, which would be broadcast, or a coefficient out of range.
    """
    of_tokens = {"old_logprobs": old_logprobs, "entropies": entropies, "weights": weights}
    check_shapes(logprobs.shape, of_tokens | {"reference_logprobs": reference_logprobs})
    check_shapes(logprobs.shape[:1], {"advantages": advantages, "chunk_weights": chunk_weights})
    _check_coefficients(clip_low, clip_high, clip_ratio_c, entropy_coef, kl_coef)
    if kl_coef and reference_logprobs is None:
        raise ValueError(f"reference_logprobs: expected some, as kl_coef={kl_coef} is not 0")
    executed = weights > 0
    log_ratios = _where(executed, logprobs - old_logprobs)
    ratios = ratios_at(ratio_level, log_ratios, weights, chunk_weights)
    ratio = ratios.log.exp()
    surrogate, dual_clipped = _surrogate(ratio, advantages[:, None], clip_low, clip_high, clip_ratio_c)
    loss = -(ratios.weights * surrogate).sum()
    entropies, reference_kl = _where(executed, entropies), torch.zeros_like(weights)
    if entropy_coef:  # else nothing flows back through the entropies, which saves that pass
        loss = loss - entropy_coef * (ratios.token_weights * entropies).sum()
    if reference_logprobs is not None:
        from_reference = _where(executed, logprobs - reference_logprobs)
        penalty = kl_estimates(from_reference, kl_estimator)
        loss = loss + kl_coef * (ratios.token_weights * penalty).sum()
        reference_kl = kl_estimates(from_reference.detach())
    with torch.no_grad():
        below, above = ratio < 1.0 - clip_low, ratio > 1.0 + clip_high
        of_ratio = {
            "ratio": ratio,
            "clip_fraction": below | above,
            "clip_fraction_low": below,
            "clip_fraction_high": above,
            "dual_clip_fraction": dual_clipped,
        }
        of_token = {
            "approx_kl": kl_estimates(-log_ratios),
            "reference_kl": reference_kl,
            "entropy": entropies,
        }
        diagnostics = _diagnose(loss, ratio, ratios.weights, of_ratio, weights, of_token)
    return loss, diagnostics


def merge_diagnostics(parts: Sequence[LossDiagnostics]) -> LossDiagnostics:
    """The diagnostics of a minibatch from those of its micro-batches.

    Raises:
        ValueError: there are no parts.
    """
    if not parts:
        raise ValueError("parts: expected the diagnostics of at least one micro-batch")
    sums = {name: sum(getattr(part, name) for part in parts) for name in _SUMS}
    merged = {**sums, "ratio_max": max(part.ratio_max for part in parts)}
    for name in (field.name for field in fields(LossDiagnostics) if field.name not in merged):
        weight = _WEIGHTS.get(name, "weight")
        total = sum(getattr(part, weight) * getattr(part, name) for part in parts)
        merged[name] = total / (sums[weight] or 1.0)
    return LossDiagnostics(**merged)


def check_shapes(expected: torch.Size, arrays: Mapping[str, Tensor | None]) -> None:
    """Raise unless those of ``arrays`` that are given have the shape ``expected``."""
    for name, array in arrays.items():
        if array is not None and array.shape != expected:
            raise ValueError(f"{name}: expected shape {list(expected)}, got {list(array.shape)}")


def _check_coefficients(
    clip_low: float, clip_high: float, clip_ratio_c: float | None, entropy_coef: float, kl_coef: float
) -> None:
    for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
        if not value > 0:
            raise ValueError(f"{name}: expected a number above 0, got {value}")
    if clip_ratio_c is not None and not clip_ratio_c > 1:
        raise ValueError(
            f"clip_ratio_c: expected a number above 1, or None for no dual clip, got {clip_ratio_c}"
        )
    for name, value in (("entropy_coef", entropy_coef), ("kl_coef", kl_coef)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected a number of at least 0, got {value}")


def _surrogate(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, clip_ratio_c: float | None
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of each ratio, and where the dual clip bounds it."""
    gain = torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantages)
    if clip_ratio_c is None:
        return gain, torch.zeros_like(gain, dtype=torch.bool)
    surrogate = torch.where(advantages < 0, torch.maximum(gain, clip_ratio_c * advantages), gain)
    return surrogate, surrogate > gain


def _where(executed: Tensor, values: Tensor) -> Tensor:
    """``values``, 0 where a token was not executed: 0 times an infinity would be NaN."""
    return torch.where(executed, values, 0.0)


def _diagnose(
    loss: Tensor,
    ratio: Tensor,
    ratio_weights: Tensor,
    of_ratio: dict[str, Tensor],
    weights: Tensor,
    of_token: dict[str, Tensor],
) -> LossDiagnostics:
    """Weighted means, fetched from the device in one transfer."""
    smallest = torch.finfo(torch.float32).tiny  # a part in which nothing was executed has means of 0
    total, token_total = (each.sum().clamp(min=smallest) for each in (ratio_weights, weights))
    names = ["weight", "token_weight", "loss", "ratio_max", *of_ratio, *of_token]
    values = [
        total,
        token_total,
        loss,
        torch.where(ratio_weights > 0, ratio, 0.0).max(),
        *((ratio_weights * value).sum() / total for value in of_ratio.values()),
        *((weights * value).sum() / token_total for value in of_token.values()),
    ]
    return LossDiagnostics(**dict(zip(names, torch.stack(values).tolist(), strict=True)))
