"""Numba's decorators for the engines; machine code is cached until a compiled file changes."""

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
"""Digest of the files that a control step is compiled from."""
