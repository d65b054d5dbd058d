"""Which of a run's processes talks to the user; it needs no PyTorch."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this is the process that talks to the user, known before any world is joined."""
    return os.environ.get("RANK", "0") == "0"
