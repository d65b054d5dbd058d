"""The native engine and unmodified LIBERO, side by side on the same actions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines.interface import EngineConfig, SimState

CAMERAS = ("agentview", "robot0_eye_in_hand")


@contextlib.contextmanager
def libero_simulation(suite: str, task_id: int, **settings: Any) -> Iterator[Any]:
    """LIBERO's environment of a task; its compiled bundle is put into the cache on the way.

    Compiling it anew would build LIBERO's environment a second time, which takes most of a test.
    """
    from ttrl_env.engines.libero.environment import LiberoSimulation
    from ttrl_env.engines.native.task.compiler import bundle_of
    from ttrl_env.engines.native.task.files import write_bundle
    from ttrl_env.engines.native.task.locations import bundle_folder

    task = libero_tasks.get_task(suite, task_id)
    simulation = LiberoSimulation(task, config_of(suite, **settings))
    place = bundle_folder(task, simulation.config.fixture_seed)
    if not place.exists():
        simulation.restore()
        write_bundle(place, bundle_of(simulation.domain))
    yield simulation
    simulation.close()


@contextlib.contextmanager
def native_engine(suite: str, num_rows: int = 1, **settings: Any) -> Iterator[Any]:
    from ttrl_env.engines.native.engine import NativeEngine

    engine = NativeEngine(config_of(suite, num_rows=num_rows, **settings))
    yield engine
    engine.close()


def play(engine: Any, actions: NDArray, task_id: int = 7) -> tuple[NDArray, NDArray]:
    """The last qpos and picture of an episode of one row."""
    engine.reset([0], [task_id], [0])
    engine.step([0], actions[None], [len(actions)])
    return engine.state(0).qpos, engine.observations["agentview_image"][0].copy()


def play_anew(suite: str, task_id: int, actions: NDArray) -> tuple[NDArray, NDArray]:
    """:func:`play` with an engine of its own, to be called in another process."""
    with native_engine(suite) as engine:
        return play(engine, actions, task_id)


def config_of(suite: str, **settings: Any) -> EngineConfig:
    defaults = {"num_rows": 1, "image_size": 64, "cameras": CAMERAS, "robot_state": True}
    return EngineConfig(**{"suite": suite, **defaults, **settings})


def mixed_actions(num_steps: int, seed: int) -> NDArray[np.float64]:
    """Actions of every kind: single ones and held ones, reaching down, turning, and gripper only."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.2, 1.2, (num_steps, 7))
    for start in range(0, num_steps, 10):
        block = actions[start : start + 10]
        kind = rng.integers(4)
        if kind == 0:  # a reach, held for half a second, towards what stands on the table
            block[:] = block[0]
            block[:, 2] = -abs(block[0, 2])
        elif kind == 1:  # no rotation: the old orientation goal stays
            block[:, 3:6] = 0.0
        elif kind == 2:  # nothing but the gripper, open, hold or close
            block[:, :6] = 0.0
            block[:, 6] = rng.choice([-1.0, 0.0, 1.0], len(block))
    return actions


def grasping_actions(engine: Any, task_id: int, init_state_id: int, num_steps: int) -> NDArray[np.float64]:
    """Waypoints played through ``engine``: over each object in turn, down, close, lift, carry, open.

    Closed-loop, so that the fingers meet what they reach for; recorded to be played open-loop elsewhere.
    """
    engine.reset([0], [task_id], [init_state_id])
    bundle = engine._tasks.bundles[task_id]
    free = bundle.model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    objects = bundle.model.jnt_bodyid[free]
    actions = np.zeros((num_steps, 7))
    for step in range(num_steps):
        turn, phase = divmod(step, sum(_GRASP.values()))
        name, height = _grasp_phase(phase)
        target = engine.state(0).body_xpos[objects[turn % len(objects)]] + [0.0, 0.0, height]
        error = target - engine.observations["robot0_eef_pos"][0]
        if name == "lift":
            error[:2] = 0.3 * np.array([np.sin(turn), np.cos(turn)])  # carries it away
        actions[step, :3] = np.clip(error / 0.05, -1.0, 1.0)
        actions[step, 6] = 1.0 if name in ("close", "lift") else -1.0
        engine.step([0], actions[None, step : step + 1], [1])
    return actions


_GRASP = {"over": 14, "down": 10, "close": 6, "lift": 8, "open": 4}
"""Phases of a grasp and their control steps."""


def _grasp_phase(step: int) -> tuple[str, float]:
    """The phase that a step of a grasp is in, and the height over the object that it aims at, metres."""
    for name, length in _GRASP.items():
        if step < length:
            return name, {"over": 0.12, "lift": 0.2}.get(name, 0.01)
        step -= length
    raise AssertionError


def compare_episode(
    simulation: Any, engine: Any, task_id: int, init_state_id: int, actions: NDArray, longest_chunk: int = 8
) -> int:
    """Play ``actions`` in chunks of changing length on both, and assert that everything is equal.

    All rows of ``engine`` play the same. Returns the number of steps after which the goal held.
    """
    rows = list(range(engine.config.num_rows))
    simulation.reset(init_state_id)
    engine.reset(rows, [task_id] * len(rows), [init_state_id] * len(rows))
    assert_equal(simulation, engine, "reset")
    position, successes = 0, 0
    lengths = np.random.default_rng(init_state_id)
    while position < len(actions):
        chunk = actions[position : position + lengths.integers(1, longest_chunk + 1)]
        executed, success, failure = simulation.step(chunk, 99)
        assert failure is None
        result = engine.step(rows, np.repeat(chunk[None], len(rows), axis=0), [99] * len(rows))
        where = f"steps {position} to {position + executed}"
        assert result.failure == [None] * len(rows), where
        assert result.executed_steps.tolist() == [executed] * len(rows), where
        assert result.success.tolist() == [success] * len(rows), where
        assert_equal(simulation, engine, where)
        position += executed
        successes += success
    return successes


def assert_equal(simulation: Any, engine: Any, where: str) -> None:
    """State and observation of every row, against LIBERO's, bit for bit."""
    expected = simulation.state()
    for row in range(engine.config.num_rows):
        assert_same_state(engine.state(row), expected, f"{where}, row {row}")
        for key, value in simulation.observation.items():
            np.testing.assert_array_equal(
                engine.observations[key][row], value, err_msg=f"{key} after {where}, row {row}"
            )


def assert_same_state(state: SimState, expected: SimState, where: str) -> None:
    for name in ("time", "qpos", "qvel", "body_pos", "body_quat", "body_xpos", "body_xquat"):
        np.testing.assert_array_equal(
            getattr(state, name), getattr(expected, name), err_msg=f"{name} after {where}"
        )
    assert state.body_names == expected.body_names
