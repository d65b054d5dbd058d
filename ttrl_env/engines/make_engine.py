"""Builds a simulation engine from its name or with the caller's own function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, get_args

from ttrl_env.checks import check_choice
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import EngineConfig, EngineName, SimulationEngine
from ttrl_env.libero_version import warn_unless_published

EngineChoice: TypeAlias = EngineName | Callable[[EngineConfig], SimulationEngine]
"""An engine's name, or a function that makes an engine from a configuration."""

OwnEngine: TypeAlias = Callable[[Any], Any]
"""A caller's own engine, in place of the configured one: makes it of an
:class:`~ttrl_env.engines.interface.EngineConfig` (LIBERO) or a ``RoboTwinConfig``."""


def make_engine(engine: EngineChoice, config: EngineConfig) -> SimulationEngine:
    """Build the chosen engine. Simulators are first imported here."""
    if callable(engine):
        return engine(config)
    check_choice("engine", engine, get_args(EngineName))
    if engine == "ray":  # nothing is rendered in this process
        from ttrl_env.engines.ray_actors.engine import RayEngine

        warn_unless_published()
        return RayEngine(config)
    opengl.require_gl()  # before MuJoCo is imported
    if engine == "native":
        from ttrl_env.engines.native.engine import NativeEngine

        warn_unless_published()
        return NativeEngine(config)
    from ttrl_env.engines.libero.engine import LiberoEngine

    warn_unless_published()
    return LiberoEngine(config)
