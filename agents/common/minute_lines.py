"""Progress where no bar can be drawn, as in a log file: a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN = 60.0


class MinuteLines:
    """Says how far a job is, at most once a minute.

    Args:
        say: prints a line.
        completed: how much was done before this process began; it does not count for the rate.
        clock: seconds.
    """

    def __init__(
        self, say: Callable[[str], None], completed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._completed = completed
        self._clock = clock
        self._started = self._said = clock()

    def update(
        self, description: str, done: int, total: int, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Say that ``done`` of ``total`` are done, if a minute has passed since the last line.

        Without ``seconds_left``, what is left is estimated by the rate so far.
        """
        now = self._clock()
        if now - self._said < SECONDS_BETWEEN:
            return
        self._said = now
        elapsed = now - self._started
        if seconds_left is None and done > self._completed and total:
            seconds_left = elapsed * (total - done) / (done - self._completed)
        left = "" if seconds_left is None else f", about {clock_time(seconds_left)} left"
        self._say(f"{description}: {done} of {total}{detail}, {clock_time(elapsed)} elapsed{left}")


def clock_time(seconds: float) -> str:
    """Seconds as ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
