"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write ``text`` beside a file and rename it into place: interrupted, the old one is still there."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)


def write_bytes_whole(file: Path, content: bytes | memoryview) -> None:
    """As :func:`write_whole`, and the bytes are on the disk before they get the name.

    After a power cut the name stands for the old file or the new one. Raises ``OSError`` naming ``file``.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, file)
    except OSError as error:
        error.filename = str(file)  # a full disk is reported without it
        raise
    finally:
        draft.unlink(missing_ok=True)
