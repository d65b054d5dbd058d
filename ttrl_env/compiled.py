"""Numba's decorators for the engine, and where machine code is kept for the next process.

Numba compares a function's own file only: code that it takes from another file would go on as it was. So the
folder of the machine code is named after all files with compiled functions. Where no folder can be written,
every process compiles anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

_CONFIG: Any = numba.config


def njit(**options: Any) -> Callable[[Callable], Any]:
    """``numba.njit``, with its result kept for the next process if it can be kept."""

    def compiled(function: Callable) -> Any:
        dispatcher = numba.njit(**options)(function)
        if _is_kept():
            with _kept_in_folder():
                dispatcher.enable_caching()
        return dispatcher

    return compiled


def cfunc(signature: Any) -> Callable[[Callable], Any]:
    """``numba.cfunc``, with its result kept for the next process if it can be kept."""

    def compiled(function: Callable) -> Any:
        with _kept_in_folder():
            return numba.cfunc(signature, cache=_is_kept())(function)

    return compiled


def _is_kept() -> bool:
    return _FOLDER is not None and not _CONFIG.DISABLE_JIT


@contextlib.contextmanager
def _kept_in_folder() -> Iterator[None]:
    """Numba asks where to keep something when it is told to keep it."""
    own, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(_FOLDER or "")
    try:
        yield
    finally:
        _CONFIG.CACHE_DIR = own


def _digest_of_sources() -> str:
    sources = [source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(source for source in sources if b"compiled import " in source)).hexdigest()


def _folder() -> Path | None:
    """The first place that can be written; with a warning none."""
    for place in _places():
        folder = place / f"engine-{SOURCES_DIGEST[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:  # read-only, full, or no folder
            continue
    warnings.warn(
        "engine: no folder for compiled code can be written, so every process compiles it anew, a minute; "
        "name one with TTRL_CACHE",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _places() -> Iterator[Path]:
    if _CONFIG.CACHE_DIR:
        yield Path(_CONFIG.CACHE_DIR)
    if os.environ.get("TTRL_CACHE"):
        yield Path(os.path.expanduser(os.environ["TTRL_CACHE"]), "compiled")
    yield Path(__file__).parent / "__pycache__"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(caches):  # not where there is no home
        yield Path(caches, "ttrl-env", "compiled")


SOURCES_DIGEST = _digest_of_sources()
"""Changes with the code that a control step is compiled from."""

_FOLDER = _folder()
