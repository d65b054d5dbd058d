"""The package's errors. Each is also a subclass of the built-in error that a caller would expect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gymnasium.error import ClosedEnvironmentError


class TTRLError(Exception):
    """Base of every error raised on purpose by ttrl-env."""


class UnknownNameError(TTRLError, ValueError):
    """A suite, task, camera, preset or configuration key that does not exist."""


class MissingDependencyError(TTRLError, ImportError):
    """LIBERO, its assets, a GL library or another dependency is not installed."""


class UnsupportedVersionError(TTRLError, ImportError):
    """An installed package has an unsupported version; the message has the supported range and a command."""


class InstallationError(TTRLError, RuntimeError):
    """An environment for another interpreter cannot be made; the message has the end of pip's output."""


class NoCacheError(TTRLError, RuntimeError):
    """There is no cache folder; the message says how to set one."""


class UnsupportedTaskError(TTRLError, NotImplementedError):
    """The native engine cannot simulate a task; the message says why."""


class UnsupportedSuiteError(TTRLError, ValueError):
    """A suite of another benchmark, where only LIBERO's, or only RoboTwin's, can be used."""


class EnvironmentClosedError(TTRLError, ClosedEnvironmentError, RuntimeError):
    """A method was called on a closed environment; it is Gymnasium's own error too."""


class ForkedProcessError(TTRLError, RuntimeError):
    """A forked process used its parent's environment: threads and OpenGL contexts do not survive a fork."""


class ClusterError(TTRLError, ConnectionError):
    """A Ray cluster cannot be reached, or does not have the resources that are asked for."""


class EnvironmentDiedError(TTRLError, RuntimeError):
    """A simulation process ended or raised; the message holds its traceback and its task."""


class NoStableSeedError(TTRLError, RuntimeError):
    """None of the seeds of an initial state gives a scene that comes to rest; choose another state."""


class StartsDifferError(TTRLError, RuntimeError):
    """Rows that play one task and one initial state did not start bitwise identical; the message says how."""


class WorkersDiedError(TTRLError, RuntimeError):
    """The processes of a run ended more often than they may be restarted; the message has the last cause."""


class TrainingDivergedError(TTRLError, FloatingPointError):
    """The policy's outputs, or its loss or gradients, are NaN or infinite."""


class ExpertFailedError(TTRLError, RuntimeError):
    """A scripted expert succeeds too rarely to record the requested demonstrations."""


class OtherTasksWarning(UserWarning):
    """A policy is played on other tasks than it was trained on."""


class SettingsWarning(UserWarning):
    """Settings that work together, but do not do what one of them is named for."""


class ConfigError(TTRLError, ValueError):
    """A configuration value of the wrong type or out of range."""


class CheckpointError(TTRLError, ValueError):
    """A checkpoint that is missing, incomplete or of another shape."""


class PolicyError(TTRLError, TypeError):
    """A policy lacks a method that rollouts, updates or checkpoints call; the message names it."""


def unknown_name(argument: str, got: object, known: Iterable[object], hint: str = "") -> UnknownNameError:
    """An error that names the argument, the value, the nearest known name and all known names."""
    names = [str(name) for name in known]
    nearest = difflib.get_close_matches(str(got), names, n=1)
    suggestion = f" Did you mean {nearest[0]!r}?" if nearest else ""
    hint = f" {hint}" if hint else ""
    return UnknownNameError(f"{argument}: no such name {got!r}.{suggestion} Known: {', '.join(names)}.{hint}")
