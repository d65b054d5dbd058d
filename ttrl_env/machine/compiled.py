"""Numba's decorators, with machine code that is kept for the next process.

Numba compares a function's own file only: code that it takes from another file would stay as it was. So the
folder of the machine code is named after all sources it is compiled from. Where no folder can be written,
every process compiles anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numba

_CONFIG: Any = numba.config


class CompiledCode:
    """The compiled functions of one package and the folder that their machine code is kept in."""

    def __init__(self, name: str, package: Path, sources: Iterable[Path]) -> None:
        """Find a folder that can be written.

        Args:
            name: begins the folder's name and the warning if there is none.
            package: the package's folder; machine code is kept in its ``__pycache__`` if that can be written.
            sources: every file that the functions take code or constants from.
        """
        content = b"".join(source.read_bytes() for source in sorted(sources))
        self.digest = hashlib.sha256(content).hexdigest()
        """Changes with the code that the functions are compiled from."""
        self._folder = _writable_folder(name, f"{name}-{self.digest[:16]}", package)

    def njit(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        """``numba.njit``, with its result kept for the next process if it can be kept."""

        def compiled(function: Callable[..., Any]) -> Any:
            dispatcher = numba.njit(**options)(function)
            if self._is_kept():
                with self._kept_in_folder():
                    dispatcher.enable_caching()
            return dispatcher

        return compiled

    def cfunc(self, signature: Any) -> Callable[[Callable[..., Any]], Any]:
        """``numba.cfunc``, with its result kept for the next process if it can be kept."""

        def compiled(function: Callable[..., Any]) -> Any:
            with self._kept_in_folder():
                return numba.cfunc(signature, cache=self._is_kept())(function)

        return compiled

    def _is_kept(self) -> bool:
        return self._folder is not None and not _CONFIG.DISABLE_JIT

    @contextlib.contextmanager
    def _kept_in_folder(self) -> Iterator[None]:
        """Numba reads its setting when a function is told to keep its machine code."""
        own, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(self._folder or "")
        try:
            yield
        finally:
            _CONFIG.CACHE_DIR = own


def _writable_folder(name: str, folder_name: str, package: Path) -> Path | None:
    """The first place that can be written; with a warning none."""
    for place in _places(package):
        folder = place / folder_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:  # read-only, full, or no folder
            continue
    warnings.warn(
        f"{name}: no folder for compiled code can be written, so every process compiles it anew, up to a "
        f"minute; name one with TTRL_CACHE",
        RuntimeWarning,
        stacklevel=3,
    )
    return None


def _places(package: Path) -> Iterator[Path]:
    if _CONFIG.CACHE_DIR:
        yield Path(_CONFIG.CACHE_DIR)
    if os.environ.get("TTRL_CACHE"):
        yield Path(os.path.expanduser(os.environ["TTRL_CACHE"]), "compiled")
    yield package / "__pycache__"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(caches):  # not where there is no home
        yield Path(caches, "ttrl-env", "compiled")
