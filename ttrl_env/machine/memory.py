"""Checks that enough memory is free before work begins."""

from __future__ import annotations

import psutil

from ttrl_env.errors import ConfigError
from ttrl_env.machine.control_groups import control_groups

_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Files with a control group's memory limit, in versions 2 and 1."""


def require_memory(num_bytes: float, what: str, advice: str) -> None:
    """Raise :class:`ConfigError` with the estimate unless ``num_bytes`` of memory are free.

    Args:
        num_bytes: the estimated need.
        what: the beginning of the error text, which names the argument and what needs the memory.
        advice: the end of the error text, which says what to do instead.
    """
    free = free_memory()
    if num_bytes > free:
        raise ConfigError(
            f"{what} needs about {_gigabytes(num_bytes)} of memory, and {_gigabytes(free)} are free; {advice}"
        )


def free_memory() -> int:
    """Bytes of free memory on the machine, at most the limits of this process's control groups."""
    files = [group / name for group in control_groups("memory") for name in _LIMIT_FILES]
    limits = [file.read_text().strip() for file in files if file.is_file()]
    return min([psutil.virtual_memory().available, *(int(limit) for limit in limits if limit.isdigit())])


def _gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.3g} GB" if num_bytes < 100e9 else f"{num_bytes / 1e9:,.0f} GB"
