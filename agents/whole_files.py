"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write ``text`` beside a file and rename it into place: interrupted, the old one is still there."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)
