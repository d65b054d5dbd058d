"""A Ray cluster of two nodes on this machine for the tests of a module. Its daemons would load a core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

CPUS_A_NODE = 4
"""Logical ones, as Ray counts them: processes share the machine's cores."""

NODE = {"num_cpus": CPUS_A_NODE, "object_store_memory": 100 * 2**20}
"""What a node has, as keywords of ``add_node``."""


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """``ray.cluster_utils.Cluster`` with this process connected to it; skips where Ray is not installed."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would yield to all other tests
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, logging_level="WARNING")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
