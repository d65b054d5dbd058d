"""Refuses a run whose machines have different versions of what its results depend on."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.distributed.processes import World
from ttrl_env.errors import ConfigError

Installed = tuple[str, dict[str, str]]
"""The name of a machine, and the versions by package."""


def require_same_versions(world: World) -> None:
    """Raise :class:`ConfigError` in every process unless all have the same versions installed."""
    check_same_versions(world.gather((platform.node(), installed_versions())))


def check_same_versions(processes: Sequence[Installed]) -> None:
    """Raise :class:`ConfigError`, which names both machines, for the first that differs from process 0."""
    first_node, first = processes[0]
    for rank, (node, versions) in enumerate(processes):
        differences = [
            f"{package} is {first.get(package, 'missing')} on {first_node} (process 0) and "
            f"{versions.get(package, 'missing')} on {node} (process {rank})"
            for package in sorted({*first, *versions})
            if first.get(package) != versions.get(package)
        ]
        if differences:
            raise ConfigError(
                f"launcher: the processes of a run need the same versions, or its results would depend on "
                f"which machine plays an episode: {'; '.join(differences)}. Install the same on both"
            )
