"""Numba's decorator for the kernels; machine code is cached until a file of the package changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ttrl_env.machine.compiled import CompiledCode

_CODE = CompiledCode("kernels", Path(__file__).parent, Path(__file__).parent.glob("*.py"))


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with the GIL released and machine code cached on disk."""
    return _CODE.njit(nogil=True, **options)
