"""Rows in Ray actors: how they are dealt, and what happens when actors die. Their engines only count."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.engines.ray_actors.actor_engines import DIE, DRIFT, RAISE, WAIT, Obedient, unmakeable
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.ray_actors import engine as ray_engine
from ttrl_env.engines.ray_actors import versions
from ttrl_env.engines.ray_actors.actor import Actor
from ttrl_env.engines.ray_actors.cluster import connect
from ttrl_env.engines.ray_actors.engine import RayEngine
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.errors import (
    ClusterError,
    EnvironmentClosedError,
    EnvironmentDiedError,
    MissingDependencyError,
    UnsupportedVersionError,
)
from ttrl_env.vector_env import TTRLVectorEnv

pytestmark = pytest.mark.slow  # an actor starts in seconds

GROUPS, ROWS = 2, 4
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (9, ROWS, 2, 7))


@pytest.fixture(scope="module")
def engines(ray_cluster: Any) -> Iterator[list[RayEngine]]:
    """The engine that the tests share, the last of the list; one that a test has closed is made anew."""
    made: list[RayEngine] = []
    yield made
    for engine in made:
        engine.close()


@pytest.fixture
def engine(engines: list[RayEngine]) -> RayEngine:
    """Two groups of two rows in two actors, which have counted to two."""
    if not engines or engines[-1]._closed or len(engines[-1]._actors) < 2:
        engines.append(RayEngine(config(), Obedient))
    shared = engines[-1]
    shared.reset(range(ROWS), [0, 0, 1, 1], [3, 3, 5, 5])
    advance(shared, 0)
    return shared


def config(num_workers: int | None = 2, **options: Any) -> EngineConfig:
    return EngineConfig(
        suite="libero_spatial",
        num_rows=ROWS,
        group_size=ROWS // GROUPS,
        image_size=8,
        num_workers=num_workers,
        ray=RayOptions(**{"max_restarts": 1, **options}),
    )


def advance(engine: RayEngine, k: int, told: float | None = None) -> None:
    """Execute a chunk of two actions in every row; row 2 is told to misbehave."""
    actions = ACTIONS[k].copy()
    if told is not None:
        actions[2, 0, 0] = told
    result = engine.step(range(ROWS), actions, [2] * ROWS)
    assert result.failure == [None] * ROWS
    assert result.executed_steps.tolist() == [2] * ROWS


def kill(actor: Actor) -> None:
    found = re.search(r"process (\d+)", actor.answer(actor.ask("describe"))["node"])
    assert found
    os.kill(int(found[1]), signal.SIGKILL)


def expected(chunks: int) -> dict[str, np.ndarray]:
    """The observations of an engine in this process after some of the chunks."""
    engine = Obedient(config())
    engine.reset(range(ROWS), [0, 0, 1, 1], [3, 3, 5, 5])
    for k in range(chunks):
        engine.step(range(ROWS), ACTIONS[k], [2] * ROWS)
    return engine.observations


def test_a_group_is_in_one_actor_and_each_actor_has_its_share(engine) -> None:
    homes = [engine._home[row] for row in range(ROWS)]
    assert homes[0] is homes[1]
    assert homes[2] is homes[3]
    assert homes[1] is not homes[2]


def test_a_row_whose_actor_has_died_goes_on_where_it_was(engine) -> None:
    before = engine.total_restarts
    kill(engine._home[0])
    advance(engine, 1)
    np.testing.assert_equal(engine.observations, expected(2))
    assert engine.restarts.tolist() == [1, 1, 0, 0]
    kill(engine._home[0])
    assert engine.state(0).time == 4  # it is brought back for this too
    assert engine.restarts.tolist() == [2, 2, 0, 0]
    kill(engine._home[0])
    engine.reset([0], [0], [3])  # only the other row of its group need be brought back
    assert engine.restarts.tolist() == [0, 3, 0, 0]
    assert [engine.state(row).time for row in range(ROWS)] == [0, 4, 4, 4]
    assert engine.total_restarts - before == 5


def test_an_actor_that_dies_in_the_middle_of_a_step_loses_nothing(engine) -> None:
    import ray

    killing = threading.Timer(0.3, ray.kill, [engine._home[2]._handle])
    killing.start()
    advance(engine, 1, WAIT)
    killing.join()
    assert engine.restarts.tolist() == [0, 0, 1, 1]
    assert [engine.state(row).time for row in range(ROWS)] == [4, 4, 4, 4]


def test_errors_of_an_actors_engine_are_raised_here_and_leave_rows_to_be_reset(engine) -> None:
    with pytest.raises(FloatingPointError, match="told to raise"):
        advance(engine, 1, RAISE)
    with pytest.raises(ValueError, match="reset them first"):
        advance(engine, 1)
    engine.reset(range(ROWS), [0, 0, 1, 1], [3, 3, 5, 5])
    advance(engine, 0)
    np.testing.assert_equal(engine.observations, expected(1))


def test_a_row_that_a_replay_leads_elsewhere_ends_and_says_why(engine) -> None:
    envs = TTRLVectorEnv(
        "libero_spatial",
        (0, 1),
        2,
        image_size=8,
        chunk_steps=2,
        engine=lambda config: engine,
        autoreset_mode="disabled",
    )
    envs.reset(seed=0)
    actions = ACTIONS[0].copy()
    actions[2, 1, 0] = DRIFT
    before, *_ = envs.step(actions)
    kill(engine._home[2])
    after, _, terminations, truncations, infos = envs.step(ACTIONS[1])
    assert not terminations.any()
    assert truncations.tolist() == [False, False, True, False]
    assert "led elsewhere on another node" in infos["failure"][2]
    assert infos["restarts"].tolist() == [0, 0, 1, 1]
    assert infos["finish_step"].tolist() == [4, 4, 2, 4]
    for key in after:
        np.testing.assert_array_equal(after[key][2], before[key][2])
    _, infos = envs.reset()
    assert "failure" not in infos
    assert not infos["restarts"].any()
    *_, truncations, infos = envs.step(ACTIONS[0])
    assert not truncations.any()


def test_other_actors_take_the_rows_where_there_is_no_room_for_a_new_one(engine, monkeypatch) -> None:
    def full(*arguments: Any) -> list[Actor]:
        raise ClusterError("no room")

    monkeypatch.setattr(ray_engine, "start_actors", full)
    kill(engine._actors[0])
    advance(engine, 1)
    np.testing.assert_equal(engine.observations, expected(2))
    assert len({engine._home[row] for row in range(ROWS)}) == 1
    kill(engine._actors[0])
    with pytest.raises(EnvironmentDiedError, match="the last actor has died, and there is no room"):
        advance(engine, 2)


def test_an_actor_that_always_dies_ends_with_an_error_that_says_where(engine) -> None:
    with pytest.raises(
        EnvironmentDiedError,
        match=r"died 2 times in a row during step of libero_spatial \(row 2: task 1, row 3: task 1; "
        r"max_restarts=1\)[\s\S]*its worker process has died",
    ):
        advance(engine, 1, DIE)
    with pytest.raises(EnvironmentClosedError):
        advance(engine, 1)


def test_an_engine_that_cannot_be_made_on_a_node_is_reported_with_its_traceback(ray_cluster) -> None:
    with pytest.raises(EnvironmentDiedError, match=r"cannot simulate[\s\S]*in unmakeable[\s\S]*no OpenGL"):
        RayEngine(config(num_workers=1), unmakeable)


def test_a_node_with_another_mujoco_is_refused_and_both_are_named(ray_cluster, monkeypatch) -> None:
    monkeypatch.setattr(versions, "installed_mujoco", lambda: "9.9.9")
    with pytest.raises(
        UnsupportedVersionError,
        match=r"node .* has MuJoCo \d+\.\d+\.\d+, and this process has MuJoCo 9\.9\.9",
    ):
        RayEngine(config(num_workers=1), Obedient)


def test_more_actors_than_the_cluster_has_room_for_are_refused_with_what_there_is(ray_cluster) -> None:
    with pytest.raises(
        ClusterError,
        match=r"got 2 of CPU: 3\.5, simulator: 0\.001 each, and 2 found no room within 1 s\. On 2 nodes "
        r"there are CPU: 8 in the cluster, \S+ of them free, simulator: 0 in the cluster",
    ):
        RayEngine(config(cpus_per_actor=3.5, node_resource="simulator", wait_seconds=1), Obedient)


def test_more_actors_than_groups_are_refused(ray_cluster) -> None:
    with pytest.raises(ValueError, match=r"num_workers: .*expected 1 to 2, got 3.*threads_per_actor"):
        RayEngine(config(num_workers=3), Obedient)


def test_by_default_there_are_as_many_actors_as_groups_or_free_cpus(ray_cluster) -> None:
    assert ray_engine._num_actors(config(num_workers=None)) == GROUPS
    assert ray_engine._num_actors(config(num_workers=None, cpus_per_actor=100)) == 1


def test_a_cluster_that_does_not_answer_or_is_another_one_is_named(ray_cluster) -> None:
    with pytest.raises(ClusterError, match=r"ray\.address: nothing answers at 127\.0\.0\.1:9 "):
        connect("127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        message = rf"connected to the Ray cluster at .* already.*got {re.escape(address)}"
        with pytest.raises(ClusterError, match=message):
            connect(address)


def test_without_ray_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ttrl-env\[ray\]'"):
        TTRLVectorEnv("libero_spatial", engine="ray", image_size=8)


def test_options_of_ray_are_refused_for_other_engines_and_other_types() -> None:
    with pytest.raises(ValueError, match=r"ray: .* no effect on engine='native'"):
        TTRLVectorEnv("libero_spatial", ray=RayOptions())
    with pytest.raises(TypeError, match=r"ray: expected a ttrl_env\.engines\.ray_options\.RayOptions"):
        TTRLVectorEnv("libero_spatial", engine="ray", ray={"threads_per_actor": 2})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ray\.cpus_per_actor: expected a number above 0"):
        RayOptions(cpus_per_actor=0)
