"""Keeps a job running when its standard output closes: a pager that ends, ``| head``, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

_READER_GONE = (errno.EPIPE, errno.EIO)
"""Error numbers of writing to a closed pipe and to a closed terminal."""


@contextlib.contextmanager
def quiet_streams() -> Iterator[None]:
    """Discard printed output once its reader is gone, instead of ending the program.

    Raises:
        OSError: writing failed for another reason, such as a full disk; names the stream.
    """
    with contextlib.ExitStack() as stack:
        for name, redirect in (
            ("stdout", contextlib.redirect_stdout),
            ("stderr", contextlib.redirect_stderr),
        ):
            stream = getattr(sys, name)
            if stream is not None:  # None if the descriptor was closed at start
                quiet = quiet_stream(stream)
                stack.enter_context(redirect(quiet))
                stack.callback(quiet.flush)
        yield


def quiet_stream(stream: TextIO, *, any_error: bool = False) -> TextIO:
    """Wrap ``stream`` so that it discards output once its reader is gone.

    With ``any_error``, it also does so after any other error, such as a full disk.
    """
    return cast(TextIO, _QuietStream(stream, any_error))


class _QuietStream:
    """Wraps ``write`` and ``flush`` of a stream; other attributes are the stream's own."""

    def __init__(self, stream: TextIO, any_error: bool) -> None:
        self._stream = stream
        self._any_error = any_error

    def write(self, text: str) -> int:
        """Write the text, or discard it if the reader is gone."""
        with self._quietly():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless the reader is gone."""
        with self._quietly():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # else the buffered output would fail again when the interpreter ends
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if not self._any_error and error.errno not in _READER_GONE:
                raise OSError(error.errno, error.strerror, self._stream.name) from error
