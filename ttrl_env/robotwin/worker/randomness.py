"""The random numbers of one row, kept apart from those of the other rows in its process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class Randomness:
    """What ``random`` and ``numpy.random`` hold for one row.

    The runtime draws from these global generators, also while it plays. Rows of one process take turns, so
    each row's draws would depend on the others'. Inside :meth:`in_use` they go on where this row left them.
    """

    def __init__(self, seed: int) -> None:
        self._python = random.Random(seed).getstate()
        self._numpy = np.random.RandomState(seed % 2**32).get_state()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the global generators be this row's."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        try:
            yield
        finally:
            self._python = random.getstate()
            self._numpy = np.random.get_state()
