"""Puts the drop-in classes in the place of LIBERO's, and takes them out again."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

_CLASSES = {
    "ControlEnv": ("env_wrapper",),
    "OffScreenRenderEnv": ("env_wrapper", ""),
    "SubprocVectorEnv": ("venv", ""),
    "DummyVectorEnv": ("venv", ""),
}
"""The classes replaced, and the modules of ``libero.libero.envs`` in which their names are ("": itself)."""


HOMES = {
    "ControlEnv": "ttrl_env.libero.control_env",
    "OffScreenRenderEnv": "ttrl_env.libero.control_env",
    "SubprocVectorEnv": "ttrl_env.libero.vector_envs",
    "DummyVectorEnv": "ttrl_env.libero.vector_envs",
}
"""The modules of our classes, which import LIBERO."""


def install() -> None:
    """Make ``libero.libero.envs`` give the classes of :mod:`ttrl_env.libero`, until :func:`uninstall`.

    It concerns imports that come later, in this process and in processes forked from it; a spawned process
    calls it again. Modules that have already imported a class by name keep LIBERO's: a warning names them.
    Subclasses that exist already keep their base. Calling it twice is the same as once.

    Raises :class:`~ttrl_env.errors.MissingDependencyError` if LIBERO is not installed.
    """
    from ttrl_env.libero import upstream

    for name, modules in _CLASSES.items():
        for module in modules:
            setattr(_module(module), name, getattr(importlib.import_module(HOMES[name]), name))
    late = _modules_holding({getattr(upstream, name) for name in _CLASSES})
    if late:
        warnings.warn(
            f"these modules had imported LIBERO's own classes before and keep them: {', '.join(late)}; call "
            f"ttrl_env.libero.install() first",
            UserWarning,
            stacklevel=2,
        )


def uninstall() -> None:
    """Give ``libero.libero.envs`` its own classes back; environments that exist go on as they are."""
    from ttrl_env.libero import upstream

    for name, modules in _CLASSES.items():
        for module in modules:
            setattr(_module(module), name, getattr(upstream, name))


def _module(name: str) -> Any:
    return sys.modules[f"libero.libero.envs.{name}".rstrip(".")]


def _modules_holding(classes: set[Any]) -> list[str]:
    """Names of the modules, LIBERO's and ours aside, in which a name stands for one of ``classes``."""
    held = []
    for name, module in list(sys.modules.items()):
        if name.startswith(("libero.", "ttrl_env.")):
            continue
        names = getattr(module, "__dict__", {})
        if any(isinstance(value, type) and value in classes for value in list(names.values())):
            held.append(name)
    return sorted(held)
