"""Errors of our own. Each is also the built-in error a caller would expect to catch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TTRLError(Exception):
    """Base of every error raised on purpose by ttrl-env."""


class UnknownNameError(TTRLError, ValueError):
    """A suite, task, camera, preset or configuration key that does not exist."""


class MissingDependencyError(TTRLError, ImportError):
    """Something that is not installed: LIBERO, its assets, a GL library."""


class UnsupportedVersionError(TTRLError, ImportError):
    """An installed package of a version that is not supported; the message names range and command."""


class NoCacheError(TTRLError, RuntimeError):
    """There is no folder in which compiled tasks could be kept; the message says how to name one."""


class UnsupportedTaskError(TTRLError, NotImplementedError):
    """A task that the native engine cannot play; the message says what it does not cover."""


class EnvironmentClosedError(TTRLError, RuntimeError):
    """A call to an environment that is closed."""


class ForkedProcessError(TTRLError, RuntimeError):
    """A call in a forked process to what its parent made: threads and OpenGL contexts are not there."""


class EnvironmentDiedError(TTRLError, RuntimeError):
    """A simulation process ended or raised; the message holds its traceback and its task."""


class TrainingDivergedError(TTRLError, FloatingPointError):
    """A policy whose outputs are no longer numbers."""


class ExpertFailedError(TTRLError, RuntimeError):
    """A scripted expert that solves its task too rarely to record what was asked for."""


class ConfigError(TTRLError, ValueError):
    """A configuration value of the wrong type or out of range."""


class CheckpointError(TTRLError, ValueError):
    """A checkpoint that is missing, incomplete or of another shape."""


class PolicyError(TTRLError, TypeError):
    """A policy that lacks what rollouts, updates or checkpoints call; the message names it."""


def unknown_name(argument: str, got: object, known: Iterable[object], hint: str = "") -> UnknownNameError:
    """An error that says which argument was wrong, what came, what exists and what is nearest."""
    names = [str(name) for name in known]
    nearest = difflib.get_close_matches(str(got), names, n=1)
    suggestion = f" Did you mean {nearest[0]!r}?" if nearest else ""
    hint = f" {hint}" if hint else ""
    return UnknownNameError(f"{argument}: no such name {got!r}.{suggestion} Known: {', '.join(names)}.{hint}")
