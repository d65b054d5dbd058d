"""Tells the main process of a run, which talks to the user, without importing PyTorch."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this process talks to the user; callable before :func:`join_world`."""
    return os.environ.get("RANK", "0") == "0"
