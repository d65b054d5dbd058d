"""What the driver does when actors die at awkward moments, with actors that are objects of this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.engines.ray_actors.actor_engines import Obedient
from tests.ttrl_env.engines.ray_actors.local_actors import Cluster, local_cluster
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.ray_actors import engine as ray_engine
from ttrl_env.engines.ray_actors.engine import RayEngine
from ttrl_env.errors import EnvironmentDiedError

ROWS = 4
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (9, ROWS, 2, 7))


@pytest.fixture
def cluster(monkeypatch) -> Cluster:
    return local_cluster(monkeypatch)


def begin() -> RayEngine:
    """Two groups of two rows in two actors, which have counted to two."""
    config = EngineConfig(suite="libero_spatial", num_rows=ROWS, group_size=2, image_size=8, num_workers=2)
    engine = RayEngine(config, Obedient)
    engine.reset(range(ROWS), [0, 0, 1, 1], [3, 3, 5, 5])
    advance(engine, 0)
    return engine


def advance(engine: RayEngine, k: int) -> None:
    result = engine.step(range(ROWS), ACTIONS[k], [2] * ROWS)
    assert result.failure == [None] * ROWS
    assert result.executed_steps.tolist() == [2] * ROWS


def counts(engine: RayEngine) -> list[float]:
    return [engine.state(row).time for row in range(ROWS)]


def test_rows_that_have_answered_are_not_set_back_when_their_actor_dies_before_the_others_have(
    cluster,
) -> None:
    engine = begin()
    first, second = cluster.started
    cluster.room = 0
    second.is_killed = True
    first.dies_when = lambda: engine._home[2] is first  # as it is asked for the rows that it has inherited

    def make_room(*arguments: Any) -> list[Any]:
        cluster.room = int(first.is_dead)
        return cluster.start_actors(*arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ray_engine, "start_actors", make_room)
        advance(engine, 1)
    assert len(cluster.started) == 3
    assert counts(engine) == [4, 4, 4, 4]
    assert engine.restarts.tolist() == [1, 1, 1, 1]


def test_a_death_during_a_replay_begins_it_again(cluster) -> None:
    engine = begin()
    cluster.started[0].is_killed = True
    asked: list[bool] = []

    def first_question() -> bool:
        asked.append(True)
        return True

    def make(*arguments: Any) -> list[Any]:
        (actor,) = cluster.start_actors(*arguments)
        if not asked:
            actor.dies_when = first_question
        return [actor]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ray_engine, "start_actors", make)
        advance(engine, 1)
    assert len(cluster.started) == 4
    assert counts(engine) == [4, 4, 4, 4]
    assert engine.restarts.tolist() == [1, 1, 0, 0]


def test_rows_of_several_actors_are_dealt_anew_in_whole_groups(cluster) -> None:
    engine = begin()
    cluster.room = 0
    cluster.started[0].is_killed = True
    advance(engine, 1)
    assert {engine._home[row] for row in range(ROWS)} == {cluster.started[1]}
    assert counts(engine) == [4, 4, 4, 4]
    cluster.started[1].is_killed = True
    with pytest.raises(EnvironmentDiedError, match="the last actor has died, and there is no room"):
        advance(engine, 2)


def test_a_reset_whose_actor_dies_starts_its_rows_and_brings_the_others_back(cluster) -> None:
    engine = begin()
    cluster.started[0].is_killed = True
    engine.reset([1], [0], [3])
    assert counts(engine) == [2, 0, 2, 2]
    assert engine.restarts.tolist() == [1, 0, 0, 0]
    assert engine.total_restarts == 1
