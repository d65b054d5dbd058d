"""Atomic file writes, and errors that name the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttrl_env.errors import CheckpointError


def write_whole(file: Path, text: str) -> None:
    """Write text as UTF-8 with :func:`write_bytes_whole`."""
    write_bytes_whole(file, text.encode("utf-8"))


def write_bytes_whole(file: Path, content: bytes | memoryview) -> None:
    """Write a file atomically; see :func:`replacing`."""
    with replacing(file) as draft:
        draft.write_bytes(content)


@contextmanager
def replacing(file: Path, draft: Path | None = None, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path to write to, renamed to ``file`` if the context ends without error, else deleted.

    After an interruption the old file is unchanged. After a power failure, if ``durable``, either the
    complete old file or the complete new file exists.

    Args:
        file: the file to replace.
        draft: the temporary path, in the same folder; for libraries that choose the format by the suffix.
        durable: wait until the content is on the disk.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; names ``file``.
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
    """Wait until a file or folder is on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Add the name of ``file`` to an :class:`OSError`: errors of writing to an open file do not name it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error


def read_object(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file that this package wrote.

    Raises:
        CheckpointError: the file cannot be read or is no JSON object; the text ends in ``remedy``.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(content).__name__}; {remedy}")
    return content
