"""Connecting this process to a Ray cluster. Ray is imported when it is first needed, and never installed."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket

from ttrl_env.errors import ClusterError, MissingDependencyError
from ttrl_env.machine.cores import usable_cores

_RAY_CLIENT_PORT = 10001

_CONNECT_SECONDS = 10.0
"""Time for a cluster to accept a connection. Ray itself would try for minutes and then end the process."""


def require_ray() -> None:
    """Raise :class:`MissingDependencyError` with the install line unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("engine='ray' needs Ray: pip install 'ttrl-env[ray]'")


def connect(address: str | None, *, quiet: bool = False) -> None:
    """Connect to the cluster at ``address`` (see :class:`~ttrl_env.engines.ray_options.RayOptions`).

    A process has one connection. If it is connected already, ``address`` must be ``None``, ``"auto"`` or that
    of the cluster.

    Args:
        address: the cluster; ``None``: what this process is connected to, else that of ``RAY_ADDRESS``, else
            Ray starts on this machine.
        quiet: Ray shows neither remarks of its own nor what the cluster's processes print.

    Raises:
        ClusterError: nothing answers at the address, or this process is connected to another cluster.
        MissingDependencyError: Ray is not installed.
    """
    require_ray()
    import ray

    if address is not None:
        _require_answer(address)
    if ray.is_initialized():
        _check_same(address, ray.get_runtime_context().gcs_address)
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"logging_level": logging.ERROR if quiet else logging.WARNING, "log_to_driver": not quiet}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody has been asked
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would yield to all else on the machine
        options |= {"include_dashboard": False, "num_cpus": usable_cores()}
    try:
        ray.init(address, **options)
    except Exception as error:  # Ray's own start raises nothing more special
        raise ClusterError(f"ray.address: cannot {_attempt(address)}: {error}{_advice(address)}") from error


def num_nodes() -> int:
    """Nodes of the cluster that are alive."""
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())


def _attempt(address: str) -> str:
    return "start Ray on this machine" if address == "local" else f"join a Ray cluster at {address!r}"


def _advice(address: str) -> str:
    """Ray's limits on its own start, 15 and 30 seconds, are fixed."""
    if address != "local":
        return ""
    return "; it gives itself seconds, which a busy machine exceeds: try again"


def _check_same(address: str | None, connected: str) -> None:
    """Raise unless ``address`` may mean the cluster at ``connected``."""
    if address in (None, "auto", connected) or str(address).startswith("ray://"):
        return
    raise ClusterError(
        f"ray.address: this process is connected to the Ray cluster at {connected} already, and a process "
        f"has one; got {address}. Leave the address out, or call ray.shutdown() first"
    )


def _require_answer(address: str) -> None:
    """Raise if nobody listens at ``host:port``: Ray would try for minutes, then end the process."""
    if address in ("local", "auto"):
        return
    scheme, _, place = address.rpartition("://")
    host, colon, port = place.rpartition(":")
    if scheme == "ray" and not colon:
        host, port = place, str(_RAY_CLIENT_PORT)
    if scheme not in ("", "ray") or not host or not port.isdecimal():
        raise ClusterError(f"ray.address: expected auto, host:port or ray://host:port, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"ray.address: nothing answers at {address} ({error}). Is the cluster running (ray status), and "
            f"is this the port of its head node?"
        ) from error
