"""Advantages of trajectories, relative to the other trajectories of their group."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.config.choices import GroupEstimator
from ttrl_env.checks import check_choice, check_real_array

_EPSILON = 1e-6
"""SimpleVLA-RL's: keeps a group of almost equal rewards from being blown up without bound."""


def group_advantage(
    rewards: ArrayLike, groups: ArrayLike, estimator: GroupEstimator = "grpo"
) -> NDArray[np.float64]:
    """Advantages ``[B]`` float64 of trajectories within their groups.

    With ``m`` the mean, ``s`` the unbiased standard deviation and ``N`` the size of the group:

    - ``grpo``: ``(r_i - m) / (s + 1e-6)`` (Shao et al. 2024, arXiv 2402.03300);
    - ``drgrpo``: ``r_i - m``, which does not favour groups of little spread (Liu et al. 2025,
      arXiv 2503.20783; the other half of it is the ``token-sum-norm`` of
      :func:`~ttrl_env.agents.update.reductions.token_weights`);
    - ``rloo``: ``r_i`` less the mean of the *other* members, ``N / (N - 1) (r_i - m)``, an unbiased
      baseline (Ahmadian et al. 2024, arXiv 2402.14740).

    A group without reward spread, one of a single trajectory among them, has advantage exactly 0.

    Args:
        rewards: ``[B]`` one reward a trajectory.
        groups: ``[B]`` the trajectory's group.
        estimator: one of the three.

    Raises:
        TypeError, ValueError: an unknown estimator, rewards that are no finite numbers, or arrays that are
            not of one length.
    """
    check_choice("estimator", estimator, get_args(GroupEstimator))
    rewards, groups = check_real_array("rewards", rewards), np.asarray(groups)
    if not np.isfinite(rewards).all():
        raise ValueError(f"rewards: expected finite numbers, got {rewards[~np.isfinite(rewards)][0]}")
    if rewards.ndim != 1 or rewards.shape != groups.shape:
        raise ValueError(
            f"rewards, groups: expected two arrays of one length, got shapes {rewards.shape}, {groups.shape}"
        )
    advantages = np.zeros_like(rewards)
    for group in np.unique(groups):
        members = groups == group
        within = rewards[members]
        if np.ptp(within) == 0:
            continue
        advantages[members] = (within - within.mean()) * _scale(within, estimator)
    return advantages


def _scale(rewards: NDArray[np.float64], estimator: GroupEstimator) -> float:
    """What the deviations from a group's mean are multiplied by."""
    if estimator == "grpo":
        return 1.0 / float(rewards.std(ddof=1) + _EPSILON)
    if estimator == "rloo":
        return len(rewards) / (len(rewards) - 1)
    return 1.0
