"""Numba's decorators, which also work where compiled code cannot be kept: a read-only package and home.

Numba keeps it beside the source or in the user's cache folder, and raises where it can write to neither.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable], Any]:
    """``numba.njit``, with its result kept for the next process if it can be kept."""
    return _kept(numba.njit, **options)


def cfunc(signature: Any) -> Callable[[Callable], Any]:
    """``numba.cfunc``, with its result kept for the next process if it can be kept."""
    return _kept(numba.cfunc, signature)


def _kept(decorator: Callable, *arguments: Any, **options: Any) -> Callable[[Callable], Any]:
    def decorate(function: Callable) -> Any:
        try:
            return decorator(*arguments, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
        settings: Any = numba.config
        before, settings.CACHE_DIR = settings.CACHE_DIR, _folder()
        try:
            return decorator(*arguments, cache=bool(settings.CACHE_DIR), **options)(function)
        finally:
            settings.CACHE_DIR = before

    return decorate


@functools.cache
def _folder() -> str:
    """A folder in ``TTRL_CACHE``; without one that can be written, nothing and a warning."""
    if os.environ.get("TTRL_CACHE"):
        folder = Path(os.path.expanduser(os.environ["TTRL_CACHE"]), "compiled")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"TTRL_CACHE={os.environ['TTRL_CACHE']}: {error.strerror}"
        else:
            if os.access(folder, os.W_OK | os.X_OK):
                return str(folder)
            reason = f"TTRL_CACHE={os.environ['TTRL_CACHE']}: not writable"
    else:
        reason = "TTRL_CACHE is not set"
    warnings.warn(
        f"Compiled code can be kept neither beside the package nor in the home folder, and {reason}: every "
        f"process compiles it anew, a minute. Set TTRL_CACHE to a folder that you may write to",
        RuntimeWarning,
        stacklevel=2,
    )
    return ""
