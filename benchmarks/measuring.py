"""Time and memory, measured alike by the scripts that compare two environments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil


def own_bytes(process: psutil.Process) -> float:
    """Memory of a process in bytes, with its proportional share of shared pages (PSS)."""
    return float(process.memory_full_info().pss)


def seconds_of(call: Callable[..., Any], *arguments: Any) -> float:
    """Wall time of a call, seconds."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start
