"""Time and memory of calls that compute with PyTorch, on a GPU or the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def timed(call: Callable[[], Any], rounds: int) -> tuple[list[float], int]:
    """Seconds of each of ``rounds`` calls after a warm-up, and the peak of allocated GPU memory in bytes."""
    on_gpu = torch.cuda.is_available()
    call()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds, torch.cuda.max_memory_allocated() if on_gpu else 0
