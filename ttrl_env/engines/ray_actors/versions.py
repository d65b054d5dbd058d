"""What must be the same on every node for simulations to be the same."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from ttrl_env._version import __version__
from ttrl_env.errors import UnsupportedVersionError
from ttrl_env.libero_version import installed_mujoco


def describe_node() -> dict[str, str]:
    """This process's versions of what decides a simulation, and the name of its machine."""
    return {"node": f"{platform.node()} (process {os.getpid()})", **versions()}


def versions() -> dict[str, str]:
    """Versions that must not differ, by package."""
    packages = ("robosuite", "numpy", "numba", "scipy")
    named = {name: importlib.metadata.version(name) for name in packages}
    return {"ttrl-env": __version__, "MuJoCo": installed_mujoco(), **named}


def check_same(node: dict[str, str]) -> None:
    """Raise :class:`UnsupportedVersionError` unless a node has the versions of this process."""
    here = versions()
    differing = [name for name in here if node.get(name) != here[name]]
    if differing:
        there = ", ".join(f"{name} {node.get(name)}" for name in differing)
        ours = ", ".join(f"{name} {here[name]}" for name in differing)
        raise UnsupportedVersionError(
            f"engine='ray': node {node['node']} has {there}, and this process has {ours}. Simulations would "
            f"differ: install the same versions on all nodes"
        )
