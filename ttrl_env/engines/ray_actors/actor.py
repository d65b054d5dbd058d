"""A Ray actor as its driver sees it: the resources reserved for it, its start, its calls, its end."""

from __future__ import annotations

import time
from typing import Any

from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.ray_actors.cluster import num_nodes
from ttrl_env.engines.ray_actors.simulator import EngineMaker, Simulator
from ttrl_env.engines.ray_actors.versions import check_same
from ttrl_env.errors import ClusterError, EnvironmentDiedError


class ActorDied(Exception):
    """An actor's process or node has ended, or cannot be reached; the message is Ray's."""


def start_actors(
    config: EngineConfig, count: int, make_engine: EngineMaker, seconds: float | None = None
) -> list[Actor]:
    """Reserve resources for ``count`` actors, start them, and wait until they answer.

    Raises:
        ClusterError: the resources were not free within ``seconds`` (default ``config.ray.wait_seconds``);
            nothing stays reserved.
        EnvironmentDiedError: an actor's engine could not be made; the message has its traceback.
        UnsupportedVersionError: a node has other versions than this process.
        ActorDied: an actor ended while it started.
    """
    actors = [Actor(config, make_engine) for _ in range(count)]
    try:
        deadline = time.monotonic() + (config.ray.wait_seconds if seconds is None else seconds)
        placed = [actor.wait_for_place(max(deadline - time.monotonic(), 0.1)) for actor in actors]
        if not all(placed):
            raise ClusterError(_shortage(config, count, placed.count(False)))
        for actor in actors:
            actor.start()
        for actor in actors:
            actor.check_versions()
    except BaseException:
        for actor in actors:
            actor.stop()
        raise
    return actors


class Actor:
    """A :class:`Simulator` somewhere in the cluster."""

    def __init__(self, config: EngineConfig, make_engine: EngineMaker) -> None:
        """Ask for the actor's resources, without waiting for them."""
        from ray.util.placement_group import placement_group

        self.tasks: set[int] = set()
        """Tasks that the actor can open."""
        self.is_dead = False
        self._config = config
        self._make_engine = make_engine
        self._place = placement_group([config.ray.resources])
        self._handle: Any = None

    def wait_for_place(self, seconds: float) -> bool:
        """Whether the actor's resources are reserved, within ``seconds``."""
        return bool(self._place.wait(seconds))

    def start(self) -> None:
        """Start the process in the reserved place, without waiting for it."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        resources = dict(self._config.ray.resources)
        options = {
            "num_cpus": resources.pop("CPU"),
            "resources": resources,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self._place, 0),
            "max_restarts": 0,  # the engine starts another, and repeats what this one has done
        }
        self._handle = ray.remote(Simulator).options(**options).remote(self._config, self._make_engine)

    def check_versions(self) -> None:
        """Wait for the actor and compare its node's versions with this process's."""
        check_same(self.answer(self.ask("describe")))

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of :class:`Simulator`; returns Ray's reference to what it will answer."""
        return getattr(self._handle, method).remote(*arguments)

    def answer(self, reference: Any) -> Any:
        """Wait for the answer of :meth:`ask`. Arrays in it may be read-only views of shared memory.

        Raises:
            ActorDied: the process or its node has ended; :attr:`is_dead` is then set.
            EnvironmentDiedError: the engine could not be made in it.
        """
        import ray
        from ray import exceptions

        try:
            return ray.get(reference)
        except (exceptions.RayActorError, exceptions.ObjectLostError, exceptions.OutOfMemoryError) as error:
            self.is_dead = True
            if getattr(error, "actor_init_failed", False):
                raise EnvironmentDiedError(f"engine='ray': an actor cannot simulate: {error}") from error
            raise ActorDied(str(error)) from error

    def stop(self) -> None:
        """End the process and free its resources; safe to call twice."""
        import ray
        from ray.util.placement_group import remove_placement_group

        self.is_dead = True
        if not ray.is_initialized():
            return  # it has ended with Ray; a call would start Ray anew
        if self._handle is not None:
            ray.kill(self._handle, no_restart=True)
        remove_placement_group(self._place)


def _shortage(config: EngineConfig, count: int, missing: int) -> str:
    """A message with what was asked of the cluster, and what it has."""
    import ray

    wanted = config.ray.resources
    total, free = ray.cluster_resources(), ray.available_resources()
    there = ", ".join(
        f"{name}: {total.get(name, 0):g} in the cluster, {free.get(name, 0):g} of them free"
        for name in wanted
    )
    return (
        f"num_workers: expected as many Ray actors as the cluster has room for, got {count} of "
        f"{_listed(wanted)} each, and {missing} found no room within {config.ray.wait_seconds} s. On "
        f"{num_nodes()} nodes there are {there}. Ask for fewer actors, or for less with cpus_per_actor, or "
        f"add nodes (wait_seconds says how long to wait for them)"
    )


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in resources.items())
