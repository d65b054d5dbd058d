"""Numba's decorators, with machine code that is cached on disk for the next process.

Numba only checks whether a function's own file has changed. It would not notice changes in functions from
other files. So the cache folder's name contains a digest of all source files. If no folder is writable, or
the disk is full, every process compiles anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError)
"""Exceptions of Numba's cache when the disk is full or a file in it was cut off, as by a power failure."""

_CONFIG: Any = numba.config


class CompiledCode:
    """The compiled functions of one package and the cache folder of their machine code."""

    def __init__(self, name: str, package: Path, sources: Iterable[Path]) -> None:
        """Find a folder that can be written.

        Args:
            name: the beginning of the folder's name, and of the warning if there is none.
            package: the package's folder; machine code is cached in its ``__pycache__`` if that is writable.
            sources: every file with code or constants that the functions use.
        """
        content = b"".join(source.read_bytes() for source in sorted(sources))
        self.digest = hashlib.sha256(content).hexdigest()
        """SHA-256 of the source files."""
        self._name = name
        self._has_warned = False
        self._folder = _writable_folder(name, f"{name}-{self.digest[:16]}", package)

    def njit(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        """``numba.njit``, cached for the next process if a folder is writable."""

        def compiled(function: Callable[..., Any]) -> Any:
            dispatcher = numba.njit(**options)(function)
            if self._is_kept():
                with self._kept_in_folder():
                    dispatcher._cache = _LenientCache(function, self.warn_once)
            return dispatcher

        return compiled

    def cfunc(self, signature: Any) -> Callable[[Callable[..., Any]], Any]:
        """``numba.cfunc``, cached for the next process if a folder is writable."""

        def compiled(function: Callable[..., Any]) -> Any:
            try:
                with self._kept_in_folder():
                    return numba.cfunc(signature, cache=self._is_kept())(function)
            except _UNUSABLE as error:
                self.warn_once(error)
            return numba.cfunc(signature)(function)

        return compiled

    def warn_once(self, error: Exception) -> None:
        """Warn that a function's machine code cannot be cached, unless that was said before."""
        if not self._has_warned:
            self._has_warned = True
            reason = str(error) or type(error).__name__
            _warn(f"{self._name}: compiled code cannot be kept in {self._folder} ({reason})", stacklevel=3)

    def _is_kept(self) -> bool:
        return self._folder is not None and not _CONFIG.DISABLE_JIT

    @contextlib.contextmanager
    def _kept_in_folder(self) -> Iterator[None]:
        """Set Numba's cache folder; Numba reads the setting when a function enables its cache."""
        own, _CONFIG.CACHE_DIR = _CONFIG.CACHE_DIR, str(self._folder or "")
        try:
            yield
        finally:
            _CONFIG.CACHE_DIR = own


class _LenientCache(FunctionCache):
    """Numba's cache of one function; without effect, instead of an error, where it cannot be used."""

    def __init__(self, function: Callable[..., Any], report: Callable[[Exception], None]) -> None:
        """Cache in the folder that is configured now; ``report`` is told of errors."""
        super().__init__(function)
        self._report = report

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The cached code, or ``None`` if there is none. An index that cannot be read is replaced."""
        try:
            return super().load_overload(sig, target_context)
        except _UNUSABLE:
            with contextlib.suppress(OSError):  # saving will raise it again
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Cache compiled code."""
        try:
            super().save_overload(sig, data)
        except _UNUSABLE as error:
            self._report(error)


def _writable_folder(name: str, folder_name: str, package: Path) -> Path | None:
    """The first folder that can be written; warns and returns ``None`` if there is none."""
    for place in _places(package):
        folder = place / folder_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:  # read-only, full, or no folder
            continue
    _warn(f"{name}: no folder for compiled code can be written", stacklevel=4)
    return None


def _warn(reason: str, stacklevel: int) -> None:
    warnings.warn(
        f"{reason}, so every process compiles it anew, up to a minute; name a folder with TTRL_CACHE",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


def _places(package: Path) -> Iterator[Path]:
    if _CONFIG.CACHE_DIR:
        yield Path(_CONFIG.CACHE_DIR)
    if os.environ.get("TTRL_CACHE"):
        yield Path(os.path.expanduser(os.environ["TTRL_CACHE"]), "compiled")
    yield package / "__pycache__"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(caches):  # relative if there is no home directory
        yield Path(caches, "ttrl-env", "compiled")
