"""Numba's decorator for the kernels; their machine code is kept while no file of the package changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ttrl_env.machine.compiled import CompiledCode

_CODE = CompiledCode("kernels", Path(__file__).parent, Path(__file__).parent.glob("*.py"))


def njit(**options: Any) -> Callable[[Callable], Any]:
    """``numba.njit``, without the GIL and kept."""
    return _CODE.njit(nogil=True, **options)
