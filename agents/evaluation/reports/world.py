"""The world in which episodes are played, as reports name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttrl_env import libero_version
from ttrl_env.agents.config.schema import EnvConfig
from ttrl_env.agents.config.worlds import plays_robotwin


def world_settings(env: EnvConfig) -> dict[str, Any]:
    """All of ``env`` that determines the simulations of a task, besides the task itself.

    Two reports compare only if these are equal. ``mujoco`` is ``None`` where MuJoCo does not simulate.
    """
    if plays_robotwin(env):
        names = ("task_config", "image_height", "image_width", "assets")
        return {"robotwin": {name: getattr(env.robotwin, name) for name in names}, "mujoco": None}
    return {
        "image_size": env.image_size,
        "engine": env.engine,
        "fixture_seed": env.fixture_seed,
        "mujoco": libero_version.installed_mujoco(),
    }


def stamp(settings: Mapping[str, Any], versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Entry ``world`` of a report whose episodes had these :func:`world_settings`.

    ``versions`` are those of RoboTwin's runtime and what it needs, as its engine has found them.
    """
    if "robotwin" in settings:
        return {"robotwin": dict(versions or {})}
    return libero_version.stamp()


def describe(settings: Mapping[str, Any], versions: Mapping[str, str] | None = None) -> str:
    """A phrase for the world of episodes that had these :func:`world_settings`."""
    if "robotwin" not in settings:
        return libero_version.describe(libero_version.installed_mujoco())
    told = ", ".join(f"{name} {version}" for name, version in (versions or {}).items())
    return f"RoboTwin 2.0, {settings['robotwin']['task_config']}" + (f" ({told})" if told else "")
