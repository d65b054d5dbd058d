"""Estimates of a KL divergence from the log-probabilities of sampled tokens."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from ttrl_env.agents.config.choices import KLEstimator
from ttrl_env.checks import check_choice


def kl_estimates(log_ratios: Tensor, estimator: KLEstimator = "k3") -> Tensor:
    """Estimates of KL(p || q), nats, one for each token that was sampled from ``p``.

    With ``l = log p - log q`` (Schulman, "Approximating KL divergence", 2020):

    - ``k3``: ``exp(-l) - 1 + l``. Its mean is KL(p || q) and it is never negative. But the mean of its
      gradient by ``p``'s weights is that of KL(q || p): differentiating the samples leaves out that ``p``
      chooses them.
    - ``k2``: ``l^2 / 2``. Its mean is near KL(p || q) while ``p`` is near ``q``. The mean of its gradient is
      that of KL(p || q), exactly.

    The derivative by ``l`` is ``1 - exp(-l)`` for ``k3`` and ``l`` for ``k2``: alike near ``q``. Further away
    ``k3`` pulls exponentially on tokens that ``p`` has given up, and at most by 1 on those it is surer of.
    verl's ``kl_loss_type`` calls them ``low_var_kl`` and ``mse``.

    Args:
        log_ratios: ``log p - log q`` of the tokens, any shape.
        estimator: one of the two.

    Raises:
        ValueError: an unknown estimator.
    """
    check_choice("kl_estimator", estimator, get_args(KLEstimator))
    if estimator == "k2":
        return 0.5 * log_ratios.square()
    return (-log_ratios).exp() - 1 + log_ratios
