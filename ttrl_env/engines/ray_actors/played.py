"""What each row has played since its last reset: enough to bring it back after its actor has died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import ACTION_DIM


@dataclass(frozen=True, kw_only=True)
class Played:
    """A row's start and the actions executed since, 56 bytes a step."""

    task_id: int
    init_state_id: int
    chunks: list[NDArray[np.float64]] = field(default_factory=list)
    """Executed actions, ``[n, 7]`` each."""

    @property
    def actions(self) -> NDArray[np.float64]:
        """``[num_steps, 7]`` all executed actions."""
        return np.concatenate([np.empty((0, ACTION_DIM)), *self.chunks])


def requests(played: Sequence[Played]) -> tuple[list[int], list[int], list[NDArray[np.float64]]]:
    """Tasks, initial states and actions of rows, as a replay takes them."""
    return (
        [row.task_id for row in played],
        [row.init_state_id for row in played],
        [row.actions for row in played],
    )
