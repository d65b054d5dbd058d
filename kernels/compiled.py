"""numba's decorator for this folder, and where the machine code is kept for the next process.

numba compares a function's own file only: code that it takes from another file would go on as it was. So the
folder of the machine code is named after all files here. Where no folder can be written, every process
compiles anew.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

_CONFIG: Any = numba.config


def njit(**options: Any) -> Callable[[Callable], Callable]:
    """``numba.njit``, without the GIL and kept."""

    def compiled(function: Callable) -> Callable:
        dispatcher = numba.njit(nogil=True, **options)(function)
        if _FOLDER is not None and not _CONFIG.DISABLE_JIT:
            own, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(_FOLDER)
            try:
                dispatcher.enable_caching()
            finally:
                _CONFIG.CACHE_DIR = own
        return dispatcher

    return compiled


def _folder() -> Path | None:
    """The first place that can be written, by the digest of all sources; with a warning none."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    for place in _places():
        folder = place / f"kernels-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:  # read-only, full, or no folder
            continue
    warnings.warn(
        "kernels: no folder for compiled code can be written, so every process compiles it anew; name one "
        "with TTRL_CACHE",
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


_FOLDER = _folder()
