"""Connecting this process to a Ray cluster. Ray is imported when it is first needed, and never installed."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket

from ttrl_env.errors import ClusterError, MissingDependencyError
from ttrl_env.machine.cores import usable_cores

CONNECT_SECONDS = 10.0
"""Time for a cluster to accept a connection. Ray itself would try for minutes and then end the process."""


def require_ray() -> None:
    """Raise :class:`MissingDependencyError` with the install line unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("engine='ray' needs Ray: pip install 'ttrl-env[ray]'")


def connect(address: str | None) -> None:
    """Connect to the cluster at ``address`` (see :class:`~ttrl_env.engines.ray_options.RayOptions`).

    A process has one connection. If it is connected already, ``address`` must be ``None``, ``"auto"`` or that
    of the cluster.

    Raises:
        ClusterError: nothing answers at the address, or this process is connected to another cluster.
        MissingDependencyError: Ray is not installed.
    """
    require_ray()
    import ray

    if ray.is_initialized():
        _check_same(address, ray.get_runtime_context().gcs_address)
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is None or address == "local":
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would yield to all else on the machine
        ray.init(
            address="local", num_cpus=usable_cores(), include_dashboard=False, logging_level=logging.WARNING
        )
        return
    _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ClusterError(f"ray.address={address}: no Ray cluster there ({error})") from error


def _check_same(address: str | None, connected: str) -> None:
    """Raise unless ``address`` may mean the cluster at ``connected``."""
    if address in (None, "auto", connected) or str(address).startswith("ray://"):
        return
    raise ClusterError(
        f"ray.address: this process is connected to the Ray cluster at {connected} already, and a process "
        f"has one; got {address}. Leave the address out, or call ray.shutdown() first"
    )


def _check_answers(address: str) -> None:
    """Raise :class:`ClusterError` unless something accepts connections at ``[ray://]host:port``."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto" and other names that Ray itself looks up
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"ray.address={address}: nothing answers there ({error}). `ray status --address {address}` tells "
            f"whether the cluster is up and can be reached from this machine"
        ) from error
