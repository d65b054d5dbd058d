"""Stops a long job after an interrupt, at a point where its state is consistent."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SAME_REQUEST_SECONDS = 1.0
"""A signal this soon after the first counts as the same request. Wrapper programs forward a Ctrl-C that the
terminal sends as well, and closing a terminal sends several signals."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """While active, the first SIGINT, SIGTERM or SIGHUP sets ``requested``; a later one has its usual effect.

    If SIGHUP was ignored before, as under ``nohup``, it stays ignored. Outside the main thread, Python allows
    no signal handlers, so ``requested`` stays false there.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has been received."""
        return self._first is not None

    def __enter__(self) -> StopRequest:
        """Install the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            if handlers[signal.SIGHUP] is signal.SIG_IGN:
                del handlers[signal.SIGHUP]
            # a handler installed outside Python could not be restored
            self._previous = {number: each for number, each in handlers.items() if each is not None}
            for number in self._previous:
                signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > SAME_REQUEST_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        """Restore the previous handlers; safe to run twice, as a signal may arrive meanwhile."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
