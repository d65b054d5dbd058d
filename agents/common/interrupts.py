"""What Ctrl-C does: it ends imports at once, and a long job at a point where its state is consistent."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit code of a command that a Ctrl-C ended before its job was done, as shells have it."""

SAME_REQUEST_SECONDS = 1.0
"""A signal this soon after the first counts as the same request. Wrapper programs forward a Ctrl-C that the
terminal sends as well, and closing a terminal sends several signals."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ending_at_once() -> contextlib.AbstractContextManager[None]:
    """While libraries are imported, Ctrl-C ends the process by the signal itself, without a traceback.

    A library in C may turn a ``KeyboardInterrupt`` during its import into any other error. Handlers that
    somebody has installed stay.
    """
    return _replacing(signal.default_int_handler, signal.SIG_DFL)


def raising_interrupts() -> contextlib.AbstractContextManager[None]:
    """Make Ctrl-C a ``KeyboardInterrupt`` meanwhile, if it ends the process, as the ``ttrl`` script has it.

    For the part of a program in which somebody catches the exception.
    """
    return _replacing(signal.SIG_DFL, signal.default_int_handler)


_Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@contextlib.contextmanager
def _replacing(usual: _Handler, meanwhile: _Handler) -> Iterator[None]:
    """Handle Ctrl-C by ``meanwhile`` where ``usual`` handles it; only a main thread can."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not usual
    ):
        yield
        return
    signal.signal(signal.SIGINT, meanwhile)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


class StopRequest:
    """While active, the first SIGINT, SIGTERM or SIGHUP sets ``requested``; a later one has its usual effect.

    If SIGHUP was ignored before, as under ``nohup``, it stays ignored. Outside the main thread, Python allows
    no signal handlers, so ``requested`` stays false there.

    Args:
        answer: what is written to standard error at once, as the job may take minutes to stop.
    """

    def __init__(self, answer: str = "") -> None:
        self._answer = answer
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
            self._reply()
        elif now - self._first > SAME_REQUEST_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _reply(self) -> None:
        """Write the answer past Python's streams, which the signal may have interrupted while they write."""
        if self._answer:
            with contextlib.suppress(OSError):  # a closed terminal is one of the reasons to stop
                os.write(2, f"\n{self._answer}\n".encode())

    def _restore(self) -> None:
        """Restore the previous handlers; safe to run twice, as a signal may arrive meanwhile."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
