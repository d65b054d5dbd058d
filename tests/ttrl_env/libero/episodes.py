"""Episodes played through LIBERO's API, by LIBERO's classes or ours, and compared bit by bit."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.ttrl_env.stove import SUITE, TASK_ID, spin_knob
from ttrl_env import libero_tasks
from ttrl_env.engines.interface import SETTLE_ACTION

IMAGE_SIZE = 64


def arguments(suite: str = SUITE, task_id: int = TASK_ID, **changed: Any) -> dict[str, Any]:
    """Constructor arguments of an environment; by default of the stove whose knob turns by itself."""
    bddl_file = str(libero_tasks.get_task(suite, task_id).bddl_file)
    return {
        "bddl_file_name": bddl_file,
        "camera_heights": IMAGE_SIZE,
        "camera_widths": IMAGE_SIZE,
        **changed,
    }


def start_state(suite: str = SUITE, task_id: int = TASK_ID, index: int = 0) -> NDArray[np.float64]:
    """One of LIBERO's initial states; the stove's knob turns in its own."""
    state = libero_tasks.init_states(suite, task_id)[index].copy()
    if (suite, task_id) == (SUITE, TASK_ID):
        spin_knob(state, index)
    return state


def play(env_class: Any, suite: str, task_id: int, num_steps: int) -> list[tuple[str, Any]]:
    """Everything that an environment returns: built, seeded once, reset twice, the second time to a state.

    What was drawn while the environment was built decides nothing later, except through the generator.
    """
    np.random.seed(3)
    env = env_class(**arguments(suite, task_id))
    seen: list[tuple[str, Any]] = [
        ("generator after building", np.random.get_state(legacy=False)["state"]["key"])
    ]
    env.seed(0)
    rng = np.random.default_rng(1)
    for episode in range(2):
        seen.append(("first observation", env.reset()))
        seen.append(("state after the reset", env.get_sim_state()))
        if episode:
            seen.append(("observation of the state", env.set_init_state(start_state(suite, task_id))))
        for step in range(num_steps):
            action = SETTLE_ACTION if step < num_steps // 2 else rng.uniform(-1, 1, 7) - DOWN
            observation, reward, done, info = env.step(list(action))
            seen += [("observation", observation), ("outcome", (reward, bool(done), info))]
            seen += [("state", env.get_sim_state()), ("success", bool(env.check_success()))]
            seen.append(("orientation", np.array(env.robots[0].controller.ee_ori_mat)))
    seen.append(("generator", np.random.get_state(legacy=False)["state"]["key"]))
    seen.append(("texts", (env.language_instruction, list(env.obj_of_interest), env.problem_name)))
    seen = [(name, dict(value) if isinstance(value, dict) else value) for name, value in seen]
    env.close()
    gc.collect()  # LIBERO's GL contexts sit in reference cycles; free them while GL is up
    return seen


def play_vector(envs: Any, states: list[NDArray]) -> list[tuple[str, Any]]:
    """What a vector environment returns: seeded, reset, put at states, and stepped, also in part."""
    envs.seed([5, 6])
    seen = [("first observations", envs.reset()), ("state", np.stack(envs.get_sim_state()))]
    seen.append(("observations of the states", envs.set_init_state(states)))
    rng = np.random.default_rng(2)
    for _ in range(3):
        observations, *outcomes = envs.step(rng.uniform(-1, 1, (len(states), 7)))
        seen += [("observations", observations), *(("outcome", outcome) for outcome in outcomes)]
    seen.append(("part", envs.step(rng.uniform(-1, 1, (2, 7)), id=[1, 0])[0]))
    seen.append(("reset of one", envs.reset(id=1)))
    seen.append(("success", [bool(each) for each in envs.check_success()]))
    return [entry for name, value in seen for entry in _flat(name, value)]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """A stack of dictionaries as one entry a dictionary, with the shape and type of the stack."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [(f"{name} {value.shape}", dict(each)) for each in value]
    return [(name, value)]


def play_libero_s_vector(states: list[NDArray]) -> list[tuple[str, Any]]:
    """What LIBERO's own vector environment of processes returns, an environment for each state."""
    from libero.libero.envs import OffScreenRenderEnv, SubprocVectorEnv

    envs = SubprocVectorEnv([lambda: OffScreenRenderEnv(**arguments())] * len(states))
    seen = play_vector(envs, states)
    envs.close()
    return seen


def in_a_fresh_process(function: Any, *arguments: Any) -> Any:
    """Call a module's function in a process of its own: LIBERO's would hang if their parent had rendered."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


DOWN = np.array([0, 0, 0.6, 0, 0, 0, 0])
"""Subtracted from random actions, so that the arm touches what stands on the table."""


def assert_same(ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]]) -> None:
    """Names, types, shapes and bits of everything seen are the same, in the same order."""
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for place, ((name, one), (_, other)) in enumerate(zip(ours, theirs, strict=True)):
        for key, left, right in _leaves(one, other):
            where = f"{place}: {name} {key}"
            if isinstance(right, np.ndarray):
                assert (left.dtype, left.shape) == (right.dtype, right.shape), where
                np.testing.assert_array_equal(left, right, err_msg=where, strict=True)
                assert left.tobytes() == right.tobytes(), where
            else:
                assert left == right, where


def _leaves(one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(other, dict):
        assert list(one) == list(other)
        for key in other:
            yield key, one[key], other[key]
    else:
        yield "", one, other
