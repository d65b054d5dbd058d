"""How long a run will still take, by what its iterations and evaluations have taken so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter


class TimeLeft:
    """Measures a run's iterations and evaluations and estimates those to come by their medians.

    The first iteration also opens simulations and compiles code, so the estimate falls after it.

    Args:
        iterations: the last iteration of the run.
        evaluate_every: evaluations come after this many iterations, and after the last; 0: only there.
    """

    def __init__(self, iterations: int, evaluate_every: int) -> None:
        self._last = iterations
        self._every = evaluate_every
        self._iterations: list[float] = []
        self._evaluations: list[float] = []

    @contextmanager
    def iteration(self) -> Iterator[None]:
        """Measure one iteration, without an evaluation."""
        with _measured(self._iterations):
            yield

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Measure one evaluation."""
        with _measured(self._evaluations):
            yield

    def seconds(self, completed: int) -> float | None:
        """Seconds from the end of iteration ``completed`` to the end of the run.

        ``None`` before an iteration was measured. Evaluations count as soon as one was measured.
        """
        if not self._iterations:
            return None
        left = (self._last - completed) * median(self._iterations)
        if self._evaluations:
            left += self._evaluations_after(completed) * median(self._evaluations)
        return left

    def _evaluations_after(self, completed: int) -> int:
        """Evaluations due after ``completed`` iterations or later, the one that is due now included."""
        later = range(max(completed, 1), self._last)
        return 1 + sum(1 for iteration in later if self._every and iteration % self._every == 0)


@contextmanager
def _measured(seconds: list[float]) -> Iterator[None]:
    started = perf_counter()
    yield
    seconds.append(perf_counter() - started)
