"""Memory of PyTorch's tensors in compiled code, found by address.

A call of a few rows computes for a few microseconds. Making NumPy arrays of its tensors and passing them to
compiled code takes several times as long; passing integers does not.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, attr-defined"

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ttrl_env.kernels.compiled import njit


@intrinsic
def pointer_to(_context: Any, address: Any) -> Any:
    """An address, an integer, as an untyped pointer."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@njit(forceinline=True)
def float32_at(address, shape):
    """A contiguous float32 array in memory that the caller keeps alive."""
    return numba.carray(pointer_to(address), shape, np.float32)


@njit(forceinline=True)
def int64_at(address, shape):
    """A contiguous int64 array in memory that the caller keeps alive."""
    return numba.carray(pointer_to(address), shape, np.int64)


@njit(forceinline=True)
def bool_at(address, shape):
    """A contiguous bool array in memory that the caller keeps alive."""
    return numba.carray(pointer_to(address), shape, np.bool_)


@njit()
def float32_columns(address, row_stride, column_stride, first, last, columns):
    """A contiguous copy ``[last - first, columns]`` of strided float32 values; zeros if ``address`` is 0.

    Strides are in elements, and ``first`` and ``last`` are rows.
    """
    copy = np.zeros((last - first, columns), np.float32)
    if address != 0:
        values = float32_at(address, (last - 1) * row_stride + (columns - 1) * column_stride + 1)
        for i in range(last - first):
            for k in range(columns):
                copy[i, k] = values[(first + i) * row_stride + k * column_stride]
    return copy


@njit()
def int64_rows(address, stride, first, last):
    """A contiguous copy ``[last - first]`` of strided int64 values."""
    copy = np.empty(last - first, np.int64)
    values = int64_at(address, (last - 1) * stride + 1)
    for i in range(last - first):
        copy[i] = values[(first + i) * stride]
    return copy


@njit()
def bool_rows(address, stride, first, last):
    """A contiguous copy ``[last - first]`` of strided bools; all False if ``address`` is 0."""
    copy = np.zeros(last - first, np.bool_)
    if address != 0:
        values = bool_at(address, (last - 1) * stride + 1)
        for i in range(last - first):
            copy[i] = values[(first + i) * stride]
    return copy
