"""Files that are written whole or not at all, and errors that say which file it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttrl_env.errors import CheckpointError


def write_whole(file: Path, text: str) -> None:
    """:func:`write_bytes_whole` of UTF-8 text."""
    write_bytes_whole(file, text.encode("utf-8"))


def write_bytes_whole(file: Path, content: bytes | memoryview) -> None:
    """Write beside a file and rename into place: interrupted, the old one is still there.

    After a power cut the name stands for the old file or the new one.

    Raises:
        OSError: it cannot be written, as where the disk is full; names ``file``.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        with naming(file):
            with draft.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make sure that a file or folder has reached the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Let an :class:`OSError` name ``file``: one of writing to an open file does not say which it is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error


def read_object(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file of ours.

    Raises:
        CheckpointError: it cannot be read or holds something else; says which file, and ``remedy``.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}; {remedy}")
    return content
