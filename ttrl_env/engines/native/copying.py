"""Copies between arrays of one shape, for compiled code.

A slice assignment and arithmetic of whole arrays mean the same as loops. But Numba checks their shapes and,
for that, compiles the text of an error message: a third of the time that compiling a control step took.
"""

from __future__ import annotations

from ttrl_env.engines.compiled import njit


@njit(nogil=True, error_model="numpy")
def copy_vector(out, values):  # type: ignore[no-untyped-def]
    """``out[:] = values``, both ``[n]``."""
    for i in range(out.shape[0]):
        out[i] = values[i]


@njit(nogil=True, error_model="numpy")
def copy_matrix(out, values):  # type: ignore[no-untyped-def]
    """``out[:] = values``, both ``[n, m]``."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = values[i, j]
