"""Stands for a Ray cluster: its actors are objects of this process, which die when a test says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.ray_actors import engine as ray_engine
from ttrl_env.engines.ray_actors.actor import ActorDied
from ttrl_env.engines.ray_actors.simulator import EngineMaker, Simulator
from ttrl_env.errors import ClusterError


class LocalActor:
    """Answers at once; dies before it is asked for the first time while ``dies_when`` holds."""

    def __init__(self, config: EngineConfig, make_engine: EngineMaker) -> None:
        self.is_dead = self.is_killed = False
        self.dies_when: Callable[[], bool] = lambda: False
        self._simulator = Simulator(config, make_engine)

    def ask(self, method: str, *arguments: Any) -> Any:
        self.is_killed = self.is_killed or self.dies_when()
        return None if self.is_killed else [copy.deepcopy(getattr(self._simulator, method)(*arguments))]

    def answer(self, reference: Any) -> Any:
        if reference is None:
            self.is_dead = True
            raise ActorDied("killed")
        return reference[0]

    def stop(self) -> None:
        self.is_dead = True


class Cluster:
    """Has room for as many new actors as ``room`` says."""

    def __init__(self) -> None:
        self.room = 100
        self.started: list[Any] = []

    def start_actors(
        self, config: EngineConfig, count: int, make_engine: EngineMaker, *seconds: Any
    ) -> list[Any]:
        if count > self.room:
            raise ClusterError("no room")
        self.room -= count
        self.started += [LocalActor(config, make_engine) for _ in range(count)]
        return self.started[-count:]


def local_cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster in the place of Ray's, for the rest of a test."""
    cluster = Cluster()
    monkeypatch.setattr(ray_engine, "start_actors", cluster.start_actors)
    monkeypatch.setattr(ray_engine, "connect", lambda address: None)
    monkeypatch.setattr(ray_engine, "bring_tasks", lambda actor, config, task_ids: None)
    monkeypatch.setattr(ray_engine, "_num_actors", lambda config: config.num_workers)
    return cluster
