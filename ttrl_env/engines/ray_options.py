"""Options of ``engine="ray"``: the actors that simulate, and the nodes that they run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ttrl_env.checks import check_finite, check_positive_int


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """How ``engine="ray"`` starts its actors; their number is ``num_workers``."""

    address: str | None = None
    """The cluster: ``"auto"`` (this machine's), ``"host:port"`` or ``"ray://host:port"``; ``None``: what this
    process is connected to, else that of ``RAY_ADDRESS``, else Ray starts on this machine."""
    threads_per_actor: int = 1
    """Threads in which an actor's native engine simulates and renders."""
    cpus_per_actor: float | None = None
    """CPUs that Ray reserves for each actor; ``None``: one a thread."""
    node_resource: str | None = None
    """Actors run only on nodes that were started with this custom resource; ``None``: on any node."""
    wait_seconds: int = 30
    """Longest wait for the actors' resources. Set it higher for a cluster that grows on demand."""
    max_restarts: int = 3
    """How often in a row actors may die during one and the same reset or step."""
    env_vars: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the actors, such as ``MUJOCO_GL`` or ``TTRL_CACHE``; others are the node's."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` or ``TypeError`` for an option out of range."""
        check_positive_int("ray.threads_per_actor", self.threads_per_actor)
        check_positive_int("ray.wait_seconds", self.wait_seconds, minimum=0)
        check_positive_int("ray.max_restarts", self.max_restarts, minimum=0)
        if self.cpus_per_actor is not None and check_finite("ray.cpus_per_actor", self.cpus_per_actor) <= 0:
            raise ValueError(f"ray.cpus_per_actor: expected a number above 0, got {self.cpus_per_actor}")

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for each actor, by the names of resources."""
        cpus = float(self.threads_per_actor if self.cpus_per_actor is None else self.cpus_per_actor)
        return {"CPU": cpus, **({} if self.node_resource is None else {self.node_resource: _TRACE})}


_TRACE = 0.001
"""Amount of a node's custom resource that an actor takes: it says where actors may run, not how many."""
