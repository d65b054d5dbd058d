"""The order of initial states from which a group's episodes start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttrl_env import tasks
from ttrl_env.tasks import Split


class InitStateStream:
    """An endless, seeded sequence of initial states for one group.

    The ``k``-th episode of each row starts from the ``k``-th state. So the ``k``-th episodes of a group's
    rows start alike, even if autoreset starts them at different times. Every state of the split is visited
    once before any is visited again.
    """

    def __init__(self, suite: str, task_id: int, split: Split | Sequence[int], seed: Sequence[int]) -> None:
        """``split`` as in :func:`ttrl_env.tasks.init_state_ids`; ``seed`` fixes the order."""
        self.task_id = task_id
        self._ids = tasks.init_state_ids(suite, task_id, split)
        self._rng = np.random.default_rng(seed)
        self._order: list[int] = []

    def __getitem__(self, episode: int) -> int:
        """The initial state of an episode, counted from 0."""
        while len(self._order) <= episode:
            self._order.extend(int(state) for state in self._rng.permutation(self._ids))
        return self._order[episode]
