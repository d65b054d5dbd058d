"""The warnings of LIBERO's drop-in classes."""

from __future__ import annotations


class FallbackWarning(UserWarning):
    """LIBERO's own environment runs, because the native engine does not cover what was asked for."""


class IgnoredArgumentWarning(UserWarning):
    """An argument has no effect in the drop-in classes; the warning says what to use instead."""


class DivergedWarning(UserWarning):
    """A simulation diverged. As in LIBERO, stepping goes on with whatever MuJoCo makes of it."""
