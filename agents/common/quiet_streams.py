"""Standard output that may go away while a job runs: a pager that is left, ``| head``, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

_READER_GONE = (errno.EPIPE, errno.EIO)
"""Of a pipe and of a terminal."""


@contextlib.contextmanager
def quiet_streams() -> Iterator[None]:
    """Let what is printed go nowhere once nobody can read it, instead of ending the program.

    Raises:
        OSError: it cannot be written for another reason, such as a full disk; names the stream.
    """
    with contextlib.ExitStack() as stack:
        for name, redirect in (
            ("stdout", contextlib.redirect_stdout),
            ("stderr", contextlib.redirect_stderr),
        ):
            stream = getattr(sys, name)
            if stream is not None:  # as where the descriptor was closed
                quiet = quiet_stream(stream)
                stack.enter_context(redirect(quiet))
                stack.callback(quiet.flush)
        yield


def quiet_stream(stream: TextIO, *, any_error: bool = False) -> TextIO:
    """``stream``, which swallows what it is given once its reader has gone.

    ``any_error``: also once it cannot write for another reason, such as a full disk.
    """
    return cast(TextIO, _QuietStream(stream, any_error))


class _QuietStream:
    """Writes and flushes for a stream; everything else is the stream's own."""

    def __init__(self, stream: TextIO, any_error: bool) -> None:
        self._stream = stream
        self._any_error = any_error

    def write(self, text: str) -> int:
        """Write, if somebody can read."""
        with self._quietly():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if somebody can read."""
        with self._quietly():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """What does not write."""
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # what is buffered would fail once more when the interpreter ends
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if not self._any_error and error.errno not in _READER_GONE:
                raise OSError(error.errno, error.strerror, self._stream.name) from error
