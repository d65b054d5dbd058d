"""Advantages of trajectories, relative to the other trajectories of their group."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

AdvantageScale: TypeAlias = Literal["std", "none"]
"""``std``: GRPO's division by the group's standard deviation; ``none``: Dr.GRPO, which leaves it out."""

_EPSILON = 1e-6
"""SimpleVLA-RL's: keeps a group of almost equal rewards from being blown up without bound."""


def group_advantage(
    rewards: ArrayLike, groups: ArrayLike, scale: AdvantageScale = "std"
) -> NDArray[np.float64]:
    """``A_i = (r_i - mean(r_g)) / (std(r_g) + 1e-6)`` over the group ``g`` of ``i``: ``[B]`` float64.

    ``std`` is the unbiased one. A group without reward variance has advantage exactly 0 and carries
    no gradient. GRPO: Shao et al. 2024 (arXiv 2402.03300); ``scale="none"``: Liu et al. 2025
    (arXiv 2503.20783).

    Args:
        rewards: ``[B]`` one reward a trajectory.
        groups: ``[B]`` the trajectory's group.
        scale: whether to divide by the group's standard deviation.
    """
    rewards, groups = np.asarray(rewards, dtype=np.float64), np.asarray(groups)
    if rewards.ndim != 1 or rewards.shape != groups.shape:
        raise ValueError(
            f"rewards, groups: expected two arrays of one length, got shapes {rewards.shape}, {groups.shape}"
        )
    advantages = np.zeros_like(rewards)
    for group in np.unique(groups):
        members = groups == group
        spread = np.ptp(rewards[members])
        if spread == 0:
            continue
        centred = rewards[members] - rewards[members].mean()
        advantages[members] = centred / (rewards[members].std(ddof=1) + _EPSILON if scale == "std" else 1.0)
    return advantages
