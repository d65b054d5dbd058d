"""LIBERO's own environment classes, on the native engine.

>>> import ttrl_env.libero
>>> ttrl_env.libero.install()  # doctest: +SKIP

After that, ``from libero.libero.envs import OffScreenRenderEnv, SubprocVectorEnv, DummyVectorEnv`` gives the
classes of this package. They take LIBERO's arguments and return what LIBERO returns, bit for bit. They can
also be imported from here. What they do not cover runs on LIBERO's own classes, with a
:class:`FallbackWarning`.

Importing this module is light: LIBERO and MuJoCo are imported when a class is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ttrl_env.libero.installation import HOMES, install, uninstall
from ttrl_env.libero.warnings import FallbackWarning

if TYPE_CHECKING:
    from ttrl_env.libero.control_env import ControlEnv, OffScreenRenderEnv
    from ttrl_env.libero.vector_envs import DummyVectorEnv, SubprocVectorEnv

__all__ = [
    "ControlEnv",
    "DummyVectorEnv",
    "FallbackWarning",
    "OffScreenRenderEnv",
    "SubprocVectorEnv",
    "install",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
