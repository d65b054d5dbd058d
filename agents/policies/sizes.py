"""How large a network that a file describes may be, before its weights have been looked at."""

from __future__ import annotations

from typing import Any

LARGEST_DEPTH, LARGEST_WIDTH = 1024, 2**20
"""Far above every published network, and far below what would never end or overflow."""


def is_size(value: Any, largest: int = LARGEST_WIDTH, smallest: int = 1) -> bool:
    """Whether a value of a JSON file is an integer from ``smallest`` to ``largest``."""
    return type(value) is int and smallest <= value <= largest
