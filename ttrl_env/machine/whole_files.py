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
    """Write a file, whole or not at all; see :func:`replacing`."""
    with replacing(file) as draft:
        draft.write_bytes(content)


@contextmanager
def replacing(file: Path, draft: Path | None = None, *, durable: bool = True) -> Iterator[Path]:
    """A path beside ``file`` to write to, renamed to ``file`` if the context ends well and else deleted.

    Interrupted, the old file is still there. After a power cut the name stands for the old file or the new
    one, if the file is ``durable``.

    Args:
        file: where the content is wanted.
        draft: another path in the same folder, as where a library chooses the format by the suffix.
        durable: wait until the disk has the content.

    Raises:
        OSError: it cannot be written, as where the disk is full; names ``file``.
    """
    draft = draft or file.with_name(f".{file.name}.draft")
    try:
        with naming(file):
            yield draft
            if durable:
                flush(draft)
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
