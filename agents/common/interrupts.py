"""Stopping a long job at a moment when its state is whole."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SAME_REQUEST_SECONDS = 1.0
"""A signal this soon after the first is the same request: wrappers send on the Ctrl-C that the terminal sends
too, and a terminal that is closed sends several."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """While active, the first SIGINT, SIGTERM or SIGHUP sets ``requested``; a later one acts as usual.

    SIGHUP stays ignored where it was, as under ``nohup``. Outside the main thread, where Python allows no
    handlers, it never becomes requested.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._first is not None

    def __enter__(self) -> StopRequest:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            if handlers[signal.SIGHUP] is signal.SIG_IGN:
                del handlers[signal.SIGHUP]
            # one that is not Python's own could not be given back
            self._previous = {number: each for number, each in handlers.items() if each is not None}
            for number in self._previous:
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > SAME_REQUEST_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        """Does no harm twice: a signal may come while it runs."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
