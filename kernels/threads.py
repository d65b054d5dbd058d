"""Shares the rows of a call among threads. The work must release the GIL, as compiled numba functions do."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

THREAD_ELEMENTS = 2**16
"""Logits that justify one more thread: reading them takes longer than waking the thread."""

_pools: dict[int, ThreadPoolExecutor] = {}

# A forked child inherits the executor but none of its threads, and would wait for them forever.
os.register_at_fork(after_in_child=_pools.clear)


def over_threads(work: Callable[[int, int], bool], rows: int, width: int) -> bool:
    """Call ``work(first, last)`` over all rows, on at most as many threads as PyTorch uses.

    Small inputs use fewer threads. Returns whether every call returned True.
    """
    threads = min(torch.get_num_threads(), rows, rows * width // THREAD_ELEMENTS)
    if threads <= 1:
        return work(0, rows)
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads - 1, thread_name_prefix="ttrl-kernels")
    edges = [rows * i // threads for i in range(threads + 1)]
    others = [_pools[threads].submit(work, *span) for span in itertools.pairwise(edges[1:])]
    own = work(edges[0], edges[1])
    return all([own, *(other.result() for other in others)])  # a list: all of them must have ended
