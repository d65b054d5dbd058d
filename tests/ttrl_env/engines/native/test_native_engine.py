"""The native engine against LIBERO, bit for bit; and what it promises of its own."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.engines.reference import (
    assert_same_state,
    compare_episode,
    grasping_actions,
    libero_simulation,
    mixed_actions,
    native_engine,
)
from tests.ttrl_env.stove import STOVE, SUCCESS_STEPS, SUITE, TASK_ID
from ttrl_env import libero_tasks, tasks
from ttrl_env.engines.native.engine import NativeEngine
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.engines.native.task.locations import bundle_folder
from ttrl_env.vector_env import TTRLVectorEnv

pytestmark = pytest.mark.libero


@pytest.mark.parametrize(
    ("suite", "task_id"),
    [
        ("libero_object", 0),  # floor, into a basket
        # kitchen, a mug into a microwave, its door
        pytest.param("libero_10", 9, marks=pytest.mark.thorough),
    ],
)
def test_native_engine_equals_libero(suite: str, task_id: int) -> None:
    with (
        libero_simulation(suite, task_id) as simulation,
        native_engine(suite, num_rows=2, num_workers=2) as engine,
    ):
        compare_episode(simulation, engine, task_id, 7, mixed_actions(30, seed=task_id))
        compare_episode(simulation, engine, task_id, 1, grasping_actions(engine, task_id, 1, 40))
        compare_episode(simulation, engine, task_id, 7, mixed_actions(6, seed=2))  # a remembered start


WIDE = [
    *(("libero_spatial", task) for task in (0, 4, 9)),
    *(("libero_object", task) for task in (1, 6)),
    *(("libero_goal", task) for task in (0, 1, 3, 4, 7, 8)),
    *(("libero_10", task) for task in range(10)),
    *(("libero_90", task) for task in (0, 5, 9, 17, 20, 25, 33, 38, 39, 46, 60, 68, 74, 80, 88)),
    *(("libero_10_swap", 2), ("libero_goal_task", 5), ("libero_object_object", 3)),
]
"""Every problem class (kitchen, living room, study, tabletop, floor), predicate and articulated object."""


@pytest.mark.equivalence
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("suite", "task_id"), WIDE)
def test_native_engine_equals_libero_over_full_episodes(suite: str, task_id: int) -> None:
    horizon = libero_tasks.get_task(suite, task_id).horizon
    with libero_simulation(suite, task_id) as simulation, native_engine(suite) as engine:
        compare_episode(
            simulation, engine, task_id, 0, mixed_actions(horizon, seed=task_id), longest_chunk=30
        )
        with native_engine(suite, cameras=()) as blind:  # planned step by step, and pictures cost most
            grasping = grasping_actions(blind, task_id, 41, horizon)
        compare_episode(simulation, engine, task_id, 41, grasping, longest_chunk=30)


ALL = [
    (suite, task)
    for suite in ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
    for task in range(tasks.get_suite(suite).num_tasks)
]


@pytest.mark.all_tasks
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("suite", "task_id"), ALL)
def test_native_engine_equals_libero_on_every_task(suite: str, task_id: int) -> None:
    with libero_simulation(suite, task_id) as simulation, native_engine(suite) as engine:
        compare_episode(simulation, engine, task_id, task_id % 50, mixed_actions(40, seed=task_id))
        other = (task_id + 25) % 50
        with native_engine(suite, cameras=()) as blind:
            grasping = grasping_actions(blind, task_id, other, 50)
        compare_episode(simulation, engine, task_id, other, grasping)
    shutil.rmtree(bundle_folder(libero_tasks.get_task(suite, task_id)))  # 130 of them would fill a disk


@pytest.mark.usefixtures("turning_stove")
def test_a_burning_stove_and_success_inside_a_chunk_equal_libero() -> None:
    actions = 0.2 * mixed_actions(10, seed=3)
    with libero_simulation(SUITE, TASK_ID) as simulation, native_engine(SUITE, num_rows=2) as engine:
        for init_state_id, success_step in enumerate(SUCCESS_STEPS):
            successes = compare_episode(simulation, engine, TASK_ID, init_state_id, actions)
            assert (successes > 0) == (success_step is not None)
        check_rows_are_independent(simulation, engine)
        check_max_steps_cuts_a_chunk(engine)
        check_divergence_ends_a_row_alone(engine)
        check_a_wrong_initial_state_is_refused(engine)
        check_threads_do_not_matter(engine)


def check_rows_are_independent(simulation: Any, engine: NativeEngine) -> None:
    """One row's burner is on, the other's is off; only the rows asked for move."""
    engine.reset([0, 1], [TASK_ID] * 2, [0, 2])
    engine.step([0], np.zeros((1, 8, 7)), [8])
    engine.step([0], np.zeros((1, 4, 7)), [8])
    untouched = {key: value[1].copy() for key, value in engine.observations.items()}
    simulation.reset(0)
    simulation.step(np.zeros((8, 7)), 8)
    simulation.step(np.zeros((4, 7)), 8)
    for key, value in simulation.observation.items():
        np.testing.assert_array_equal(engine.observations[key][0], value, err_msg=key)
    simulation.reset(2)
    assert_same_state(engine.state(1), simulation.state(), "the other row's steps")
    for key, value in simulation.observation.items():
        np.testing.assert_array_equal(untouched[key], value, err_msg=key)


def check_max_steps_cuts_a_chunk(engine: NativeEngine) -> None:
    engine.reset([0, 1], [TASK_ID] * 2, [2, 2])
    before = engine.state(0).time
    result = engine.step([0, 1], np.zeros((2, 8, 7)), [3, 8])
    assert result.executed_steps.tolist() == [3, 8]
    assert engine.state(0).time - before == pytest.approx(3 / 20)


def check_divergence_ends_a_row_alone(engine: NativeEngine) -> None:
    engine.reset([0, 1], [TASK_ID] * 2, [2, 2])
    sound = engine.state(1)
    seen = engine.observations["agentview_image"][0].copy()
    engine._rows[0][1]._data.qvel[:] = 1e11
    result = engine.step([0, 1], np.zeros((2, 8, 7)), [8, 8])
    assert result.executed_steps.tolist() == [1, 8]
    assert not result.success.any()
    assert "diverged" in str(result.failure[0])
    assert result.failure[1] is None
    np.testing.assert_array_equal(engine.observations["agentview_image"][0], seen)
    engine._rows[1][1]._data.qpos[:] = np.nan
    assert "diverged" in str(engine.step([1], np.zeros((1, 8, 7)), [8]).failure[0])
    engine.reset([0, 1], [TASK_ID] * 2, [2, 2])
    for row in (0, 1):
        assert_same_state(engine.state(row), sound, "a reset after divergence")
    assert engine.step([0, 1], np.zeros((2, 2, 7)), [8, 8]).failure == [None, None]


def check_a_wrong_initial_state_is_refused(engine: NativeEngine) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(libero_tasks, "init_states", lambda suite, task_id: np.zeros((50, 500)))
        with pytest.raises(ValueError, match=r"init_state: expected 1 \+ 41 \+ 37 numbers .* got 500"):
            engine.reset([0], [TASK_ID], [0])


def check_threads_do_not_matter(engine: NativeEngine) -> None:
    """Eight rows on one thread and on three do what two rows on two do."""
    actions = mixed_actions(16, seed=9)
    engine.reset([0, 1], [TASK_ID] * 2, [2, 2])
    engine.step([0, 1], np.stack([actions] * 2), [16, 16])
    for num_workers in (1, 3):
        with native_engine(SUITE, num_rows=8, num_workers=num_workers, cameras=()) as other:
            other.reset(range(8), [TASK_ID] * 8, [2] * 8)
            other.step(range(8), np.stack([actions] * 8), [16] * 8)
            for row in range(8):
                assert_same_state(other.state(row), engine.state(0), f"{num_workers} threads, row {row}")


@pytest.mark.usefixtures("turning_stove")
def test_vector_env_gives_the_same_episodes_on_both_engines(stove_engine: Callable) -> None:
    settings = {**STOVE, "max_steps": 8, "chunk_steps": 2, "seed": 4, "autoreset_mode": "next_step"}
    both = [TTRLVectorEnv(**settings, engine=engine) for engine in ("native", stove_engine)]
    outputs: list[tuple[Any, ...]] = [envs.reset() for envs in both]
    actions = 0.3 * mixed_actions(60, seed=5).reshape(10, 3, 2, 7).clip(-1, 1)
    ended = 0
    for step in range(11):
        for native, upstream in zip(*outputs, strict=True):
            np.testing.assert_equal(native, upstream)
        if step < 10:
            outputs = [envs.step(actions[step]) for envs in both]
            ended += int(outputs[0][2].sum())
    assert ended >= 2  # so that success, its reward and autoreset were covered
    for envs in both:
        envs.close()


@pytest.mark.usefixtures("turning_stove")
def test_tasks_share_the_threads_and_are_let_go_when_nobody_plays_them() -> None:
    """Tasks that look alike: every task of the suite is the stove's."""
    from ttrl_env.engines.native import open_tasks

    stove = load_bundle(libero_tasks.get_task(SUITE, TASK_ID))
    states = libero_tasks.init_states(SUITE, TASK_ID)[:2]
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        native_engine(SUITE, num_rows=4, num_workers=2, cameras=("agentview",)) as engine,
    ):
        monkeypatch.setattr(open_tasks, "find_bundle", lambda task, seed: dataclasses.replace(stove))
        monkeypatch.setattr(libero_tasks, "init_states", lambda suite, task_id: states)
        engine.reset(range(4), [0, 0, 1, 1], [0, 1, 0, 1])
        assert sorted(map(tuple, engine._tasks.homes.values())) == [(0,), (1,)]
        engine.step(range(4), np.zeros((4, 4, 7)), [4] * 4)
        assert_same_state(engine.state(2), engine.state(0), "the same steps of another task")
        images = engine.observations["agentview_image"]
        np.testing.assert_array_equal(images[:2], images[2:])
        first = images[0].copy()
        for task_id in range(2, 6):
            engine.reset(range(4), [task_id] * 4, [0, 1, 0, 1])
            assert task_id in engine._tasks.bundles
            assert len(engine._tasks.bundles) <= 1 + open_tasks.IDLE_TASKS
            assert set(engine._tasks.homes) == set(engine._tasks.bundles)
            assert {key[0] for key in engine._starts} <= set(engine._tasks.bundles)
        engine.step(range(4), np.zeros((4, 4, 7)), [4] * 4)
        np.testing.assert_array_equal(images[0], first)


@pytest.mark.usefixtures("turning_stove")
def test_tasks_that_share_a_thread_are_drawn_into_buffers_of_their_own() -> None:
    """Once, the first image after a change of task was the one that the task had rendered before."""
    from ttrl_env.engines.native import open_tasks

    stove = load_bundle(libero_tasks.get_task(SUITE, TASK_ID))
    states = libero_tasks.init_states(SUITE, TASK_ID)[:4]
    actions = mixed_actions(8, seed=6).reshape(2, 4, 7)
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        native_engine(SUITE, num_rows=4, num_workers=1, cameras=("agentview",)) as engine,
    ):
        monkeypatch.setattr(open_tasks, "find_bundle", lambda task, seed: dataclasses.replace(stove))
        monkeypatch.setattr(libero_tasks, "init_states", lambda suite, task_id: states)

        def pictures(task_ids: list[int]) -> list[np.ndarray]:
            engine.reset(range(4), task_ids, range(4))
            rendered = []
            for chunk in actions:
                engine.step(range(4), np.stack([chunk] * 4), [4] * 4)
                rendered.append(engine.observations["agentview_image"].copy())
            return rendered

        np.testing.assert_array_equal(pictures([0, 0, 1, 1]), pictures([0, 0, 0, 0]))
        np.testing.assert_array_equal(pictures([0, 1, 0, 1]), pictures([1, 1, 1, 1]))
