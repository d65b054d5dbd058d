"""Matrix products in the precision of their inputs, whatever PyTorch's precision settings are."""

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
    """Context in which products do not use autocast, and float32 products use neither TF32 nor bfloat16.

    A rounded logit would give another log-probability than the one with which its token was sampled.
    PyTorch has one float32 precision for all threads: the last thread to leave the context restores it.
    """
    is_autocast = torch.is_autocast_enabled(device.type)  # asking is faster than entering a context
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
    """PyTorch's float32 precision settings: one each for GPU and CPU, or one for both in older versions."""
    if _HAS_BACKEND_SETTINGS:
        return _GPU.fp32_precision, _CPU.fp32_precision
    return (torch.get_float32_matmul_precision(),)


def _set_precision(wanted: tuple[str, ...]) -> None:
    if _HAS_BACKEND_SETTINGS:
        _GPU.fp32_precision, _CPU.fp32_precision = wanted
    else:
        torch.set_float32_matmul_precision(wanted[0])
