"""Numba's decorators for the engines; their machine code is kept while no compiled file changes."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.machine.compiled import CompiledCode

_PACKAGE = Path(__file__).parent

_CODE = CompiledCode(
    "engine",
    _PACKAGE,
    [source for source in _PACKAGE.rglob("*.py") if b"compiled import " in source.read_bytes()],
)

njit, cfunc = _CODE.njit, _CODE.cfunc

SOURCES_DIGEST = _CODE.digest
"""Changes with the code that a control step is compiled from."""
