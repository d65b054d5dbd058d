"""Generalised advantage estimation over the chunks of trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gae_over_chunks(
    rewards: ArrayLike,
    values: ArrayLike,
    trajectory: ArrayLike,
    terminations: ArrayLike,
    truncations: ArrayLike,
    *,
    final_values: ArrayLike | None = None,
    gamma: float = 1.0,
    gae_lambda: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Advantages and returns ``[M]`` float64, one time step a chunk (Schulman et al. 2016, arXiv 1506.02438).

    ``delta_t = r_t + gamma V_{t+1} - V_t``, ``A_t = delta_t + gamma lambda A_{t+1}``, ``R_t = A_t + V_t``.

    After a trajectory's last chunk ``V_{t+1}`` is 0 where the episode terminated. Where it was
    truncated it is ``final_values``, the value of the observation *after* the last chunk; without
    them it is 0 too. That is right for a horizon that belongs to the task, as LIBERO's does: success
    after it earns nothing, whatever the state looks like.

    Args:
        rewards: ``[M]`` reward of each chunk.
        values: ``[M]`` value of the observation before each chunk.
        trajectory: ``[M]`` the trajectory of each chunk; a trajectory's chunks are in their order in time.
        terminations: ``[B]`` bool, trajectories that ended by success.
        truncations: ``[B]`` bool, trajectories that were cut off.
        final_values: ``[B]`` values of the final observations, read where ``truncations`` is set.
        gamma: discount a chunk, not a control step.
        gae_lambda: 0 trusts the values, 1 the rewards.

    Raises:
        ValueError: arrays that do not belong together, or a discount or lambda outside [0, 1].
    """
    for name, value in (("gamma", gamma), ("gae_lambda", gae_lambda)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
    rewards, values = np.asarray(rewards, dtype=np.float64), np.asarray(values, dtype=np.float64)
    trajectory = np.asarray(trajectory)
    terminations, truncations = np.asarray(terminations, dtype=bool), np.asarray(truncations, dtype=bool)
    _check_one_length("rewards, values, trajectory", rewards, values, trajectory)
    ends = [] if final_values is None else [np.asarray(final_values)]
    _check_one_length("terminations, truncations, final_values", terminations, truncations, *ends)
    if (terminations & truncations).any():
        raise ValueError("terminations, truncations: a trajectory ends one way, got both set")
    next_value = np.zeros(len(terminations))
    if final_values is not None:
        next_value[truncations] = np.asarray(final_values, dtype=np.float64)[truncations]
    next_advantage = np.zeros(len(terminations))
    advantages = np.zeros_like(rewards)
    for chunk in range(len(rewards) - 1, -1, -1):
        row = trajectory[chunk]
        delta = rewards[chunk] + gamma * next_value[row] - values[chunk]
        advantages[chunk] = next_advantage[row] = delta + gamma * gae_lambda * next_advantage[row]
        next_value[row] = values[chunk]
    return advantages, advantages + values


def normalised(
    advantages: NDArray[np.float64], among: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Shifted and scaled so that ``among``, by default themselves, have mean 0 and standard deviation 1.

    A single one, or equal ones, become 0.
    """
    among = advantages if among is None else among
    return (advantages - among.mean()) / (among.std() + 1e-8)


def _check_one_length(arguments: str, *arrays: NDArray[Any]) -> None:
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(f"{arguments}: expected arrays of one dimension and length, got shapes {shapes}")
