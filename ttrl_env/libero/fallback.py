"""When LIBERO's own environment runs instead of ours, and how that is said."""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Iterator, Sequence

from ttrl_env.libero.warnings import FallbackWarning

_REFUSING = contextvars.ContextVar("refusing fallbacks to LIBERO's own environment", default=False)


class NeedsUpstreamError(Exception):
    """An environment is not covered by the native engine, in a place where LIBERO's own must not be built."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(f"not covered by the native engine: {', '.join(reasons)}")
        self.reasons = reasons


@contextlib.contextmanager
def refusing_fallbacks() -> Iterator[None]:
    """Context in which :func:`announce_fallback` raises :class:`NeedsUpstreamError`."""
    token = _REFUSING.set(True)
    try:
        yield
    finally:
        _REFUSING.reset(token)


def announce_fallback(reasons: Sequence[str], stacklevel: int) -> None:
    """Warn that LIBERO's own environment is built, and why: names of arguments with their values."""
    if _REFUSING.get():
        raise NeedsUpstreamError(reasons)
    warnings.warn(
        f"{', '.join(reasons)}: not covered by the native engine, so LIBERO's own environment runs. It takes "
        f"1 to 2 GB, seconds for each reset, and renders every camera in every step",
        FallbackWarning,
        stacklevel=stacklevel + 1,
    )
