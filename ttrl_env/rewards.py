"""Rewards of an episode that ended: efficiency for test-time RL, binary for ordinary RL."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.checks import check_choice

RewardName: TypeAlias = Literal["efficiency", "env_sparse"]
"""``test_time_rl_reward``: the shaped reward of test-time RL, or LIBERO's own 1/0."""


def check_reward(test_time_rl_reward: RewardName, *, test_time_rl: bool) -> RewardName:
    """Name of the reward to use: the given one, after checking it, or binary without test-time RL."""
    name: RewardName = check_choice("test_time_rl_reward", test_time_rl_reward, get_args(RewardName))
    return name if test_time_rl else "env_sparse"


def efficiency_reward(success: ArrayLike, finish_step: ArrayLike, max_steps: int) -> NDArray[np.float64]:
    """``1 / (1 + finish_step / max_steps)`` on success, else 0: ``[...]`` float64 in {0} and [1/2, 1).

    ``finish_step`` is the number of policy steps executed, settle steps excluded. An earlier success earns a
    reward closer to 1; the slowest success still earns more than any failure.
    """
    speed = 1.0 / (1.0 + np.asarray(finish_step, dtype=np.float64) / max_steps)
    return np.where(np.asarray(success, dtype=bool), speed, 0.0)


def binary_reward(success: ArrayLike) -> NDArray[np.float64]:
    """1 on success, else 0: ``[...]`` float64, LIBERO's sparse reward."""
    return np.asarray(success, dtype=np.float64)


def episode_reward(
    reward: RewardName, success: ArrayLike, finish_step: ArrayLike, max_steps: int
) -> NDArray[np.float64]:
    """The rewards, of the named kind, of episodes that end now."""
    if reward == "efficiency":
        return efficiency_reward(success, finish_step, max_steps)
    return binary_reward(success)
