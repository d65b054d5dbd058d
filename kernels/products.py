"""Matrix products as their inputs' types say, whatever the program has asked PyTorch for elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_GPU: Any = torch.backends.cuda.matmul
_CPU: Any = getattr(torch.backends.mkldnn, "matmul", None)
_HAS_BACKEND_SETTINGS = hasattr(_GPU, "fp32_precision")  # from PyTorch 2.9 on
_PLAIN = {"ieee", "none", "highest"}

_lock = threading.Lock()
_inside = 0
_outside: tuple[str, ...] = ()


@contextlib.contextmanager
def plain_products(device: torch.device) -> Iterator[None]:
    """Products without autocast, and of float32 without TF32 or bfloat16 inside.

    A rounded logit would be another log-probability than the one that its token was sampled with. The
    precision of float32 is one setting for all threads: it comes back when the last of them is through.
    """
    is_autocast = torch.is_autocast_enabled(device.type)  # to leave it takes longer than to ask
    with torch.autocast(device.type, enabled=False) if is_autocast else contextlib.nullcontext():
        _enter()
        try:
            yield
        finally:
            _leave()


def _enter() -> None:
    global _inside, _outside
    with _lock:
        if _inside == 0:
            _outside = _precision()
            if not set(_outside) <= _PLAIN:
                _set_precision(("ieee", "ieee") if _HAS_BACKEND_SETTINGS else ("highest",))
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and not set(_outside) <= _PLAIN:
            _set_precision(_outside)


def _precision() -> tuple[str, ...]:
    """Of products on a GPU and on a CPU, or of both."""
    if _HAS_BACKEND_SETTINGS:
        return _GPU.fp32_precision, _CPU.fp32_precision
    return (torch.get_float32_matmul_precision(),)


def _set_precision(wanted: tuple[str, ...]) -> None:
    if _HAS_BACKEND_SETTINGS:
        _GPU.fp32_precision, _CPU.fp32_precision = wanted
    else:
        torch.set_float32_matmul_precision(wanted[0])
