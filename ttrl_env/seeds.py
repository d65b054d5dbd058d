"""Seeds of vector environments whose rows form groups that start alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.checks import check_seed, is_sequence


def check_given_seeds(argument: str, seed: Any) -> list[int | None]:
    """Return a reset's seed, or its sequence of seeds, as a list, else raise; ``None`` means "go on"."""
    if not is_sequence(seed):
        return [None if seed is None else check_seed(argument, seed)]
    return [None if each is None else check_seed(f"{argument}[{k}]", each) for k, each in enumerate(seed)]


def seeds_of_groups(
    seeds: Sequence[int | None], groups: NDArray[np.int64], reset: NDArray[np.bool_]
) -> list[int | None]:
    """The seed of each group from one for each row: row ``i`` is reset with ``seeds[i]``, as in Gymnasium.

    Args:
        seeds: ``[num_envs]`` seeds, or ``None`` where a row goes on with its random numbers.
        groups: ``[num_envs]`` the group of each row, in rising order.
        reset: ``[num_envs]`` the rows that are reset; seeds of others are ignored, as Gymnasium does.

    Raises:
        ValueError: rows of one group, which start alike, have different seeds.
    """
    chosen: list[int | None] = [None] * (int(groups[-1]) + 1)
    for group in np.unique(groups[reset]).tolist():
        rows = np.flatnonzero(reset & (groups == group)).tolist()
        given = [seeds[row] for row in rows]
        if any(each != given[0] for each in given):
            raise ValueError(
                f"seed: rows {rows} are one group and start alike, so they need the same seed, got {given}; "
                f"an integer seeds all groups"
            )
        chosen[group] = given[0]
    return chosen
