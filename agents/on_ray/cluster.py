"""Joins a Ray cluster, or starts Ray on this machine, and checks that it has what a run asks for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ttrl_env.agents.config.schema import RayConfig
from ttrl_env.engines.ray_actors.cluster import connect, num_nodes
from ttrl_env.errors import ConfigError, MissingDependencyError

_WAIT_SECONDS = 30
"""``ray.wait_seconds=null``: longest wait for resources that others use."""


def require_ray() -> None:
    """Raise unless Ray Train is installed.

    Raises:
        MissingDependencyError: has the command that installs it.
    """
    needed = ("ray", "pandas", "pyarrow", "pydantic", "tensorboardX")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"launcher=ray: Ray Train needs {', '.join(missing)}, which is not installed. Install it with: "
            f"pip install 'ttrl-env[ray]'"
        )


@contextmanager
def joined_cluster(settings: RayConfig) -> Iterator[None]:
    """Context in which this process is connected to the cluster of ``settings.address``.

    Where nobody has named one, Ray starts here and ends with the context. A connection that this process has
    already is used, and kept.

    Raises:
        ClusterError: there is no cluster at the address, or it does not answer or take us.
    """
    import ray

    connected = ray.is_initialized()
    connect(settings.address, quiet=True)  # the run's first process relays what it prints
    try:
        yield
    finally:
        if not connected:
            ray.shutdown()


def gpus_per_worker(settings: RayConfig, device: str) -> int:
    """``ray.gpus_per_worker``, or what it comes to on this cluster for ``policy.device``."""
    import ray

    if settings.gpus_per_worker is not None:
        return settings.gpus_per_worker
    if device == "auto":
        return int(ray.cluster_resources().get("GPU", 0) > 0)
    return int(device.startswith("cuda"))


def require_resources(settings: RayConfig, each: dict[str, float]) -> None:
    """Raise unless Ray can place ``settings.num_workers`` processes, which take the resources ``each``.

    Raises:
        ConfigError: names what is asked and what there is.
    """
    import ray
    from ray.util import placement_group, remove_placement_group

    wait = settings.wait_seconds
    if (shortage := missing_resources(settings, each)) and wait is None:
        raise ConfigError(f"{shortage}. For a cluster that grows on demand, set ray.wait_seconds")
    wait = _WAIT_SECONDS if wait is None else wait
    asked = placement_group([each] * settings.num_workers, strategy=settings.placement.upper())
    try:
        if asked.wait(max(wait, 1)):
            return
        free = {name: ray.available_resources().get(name, 0.0) for name in each}
        raise ConfigError(
            f"{_asked(settings, each)}, and the cluster had no room for them in {wait} s. In all it has "
            f"{_amounts(_totals(each))} on {num_nodes()} nodes, of which {_amounts(free)} are free. Wait "
            f"for other jobs (ray.wait_seconds), lower ray.num_workers, or choose another ray.placement"
        )
    finally:
        remove_placement_group(asked)


def missing_resources(settings: RayConfig, each: dict[str, float]) -> str | None:
    """What is asked and what there is, if the whole cluster has less than is asked; else ``None``."""
    totals = _totals(each)
    if all(totals[name] >= amount * settings.num_workers for name, amount in each.items()):
        return None
    return (
        f"{_asked(settings, each)}, and the cluster has {_amounts(totals)} on {num_nodes()} nodes; lower "
        f"ray.num_workers or what each asks for, or add nodes"
    )


def _asked(settings: RayConfig, each: dict[str, float]) -> str:
    all_ = {name: amount * settings.num_workers for name, amount in each.items()}
    return (
        f"ray.num_workers: {settings.num_workers} processes with {_amounts(each)} each need "
        f"{_amounts(all_)}, placed as ray.placement={settings.placement}"
    )


def _totals(names: dict[str, float]) -> dict[str, float]:
    import ray

    totals: dict[str, Any] = ray.cluster_resources()
    return {name: totals.get(name, 0.0) for name in names}


def _amounts(resources: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
