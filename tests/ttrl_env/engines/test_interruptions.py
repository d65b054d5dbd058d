"""Calls of the native engine that are interrupted, fail, or find it closed: nothing goes on behind them."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from tests.ttrl_env.engines.reference import assert_same_state, native_engine
from tests.ttrl_env.stove import SUITE, TASK_ID
from ttrl_env import libero_tasks
from ttrl_env.engines.native import settled
from ttrl_env.engines.native.engine import NativeEngine
from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.threads import ThreadPool
from ttrl_env.errors import EnvironmentClosedError

pytestmark = pytest.mark.libero

ROWS = 6


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[NativeEngine]:
    """Six rows on one thread, so that most of a step's jobs wait in the queue."""
    with native_engine(SUITE, num_rows=ROWS, num_workers=1, cameras=()) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: NativeEngine) -> NativeEngine:
    shared_engine.reset(range(ROWS), [TASK_ID] * ROWS, [0] * ROWS)
    return shared_engine


def step(engine: NativeEngine) -> None:
    engine.step(range(ROWS), np.full((ROWS, 20, 7), 0.5), [20] * ROWS)


def meanwhile(monkeypatch: pytest.MonkeyPatch, event: Callable[[], None]) -> None:
    """Have ``event`` happen while the first job of the next step is under way."""
    steps = Replica.step
    happened: list[bool] = []

    def interrupted(replica: Replica, actions: np.ndarray) -> tuple[int, bool, str | None]:
        if not happened:
            happened.append(True)
            event()
        return steps(replica, actions)

    monkeypatch.setattr(Replica, "step", interrupted)


class Stop(Exception):
    """What a signal handler of the user's may raise."""


def raise_stop(number: int, frame: FrameType | None) -> None:
    raise Stop


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_an_interrupted_step_does_not_go_on_after_the_next_reset(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    start = engine.state(0)
    handler = signal.default_int_handler if error is KeyboardInterrupt else raise_stop
    before = signal.signal(signal.SIGINT, handler)
    try:
        meanwhile(monkeypatch, _thread.interrupt_main)
        with pytest.raises(error):
            step(engine)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ResetNeeded, match=r"left rows \[0, 1, 2, 3, 4, 5\] halfway; reset them"):
        step(engine)
    engine.reset(range(ROWS), [TASK_ID] * ROWS, [0] * ROWS)
    engine.step([0], np.zeros((1, 1, 7)), [1])  # the only thread has done this last, if anything was left
    for row in range(1, ROWS):
        assert_same_state(engine.state(row), start, f"row {row}")
    step(engine)


def test_a_task_whose_opening_was_interrupted_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with native_engine(SUITE, num_workers=1, cameras=()) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(settled, "load_settled", interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.reset([0], [TASK_ID], [0])
        engine.reset([0], [TASK_ID], [0])


def test_an_error_in_one_row_leaves_none_of_the_others_under_way(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise Stop

    meanwhile(monkeypatch, fail)
    with pytest.raises(Stop):
        step(engine)
    with pytest.raises(ResetNeeded):
        engine.step([3], np.zeros((1, 1, 7)), [1])
    engine.reset([3], [TASK_ID], [0])
    assert engine.step([3], np.zeros((1, 1, 7)), [1]).executed_steps.tolist() == [1]


@pytest.mark.parametrize("call", [step, lambda engine: engine.reset([0], [TASK_ID], [0])])
def test_a_call_under_way_is_told_when_another_thread_closes(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[NativeEngine], None]
) -> None:
    with native_engine(SUITE, num_rows=ROWS, num_workers=1, cameras=()) as engine:
        engine.reset(range(ROWS), [TASK_ID] * ROWS, [0] * ROWS)
        closing = threading.Thread(target=engine.close)

        def close_and_see() -> None:
            closing.start()
            while not engine._pool._closing:
                threading.Event().wait(0.001)

        if call is step:
            meanwhile(monkeypatch, close_and_see)
        else:
            opening = engine._open_tasks

            def interrupted(task_ids: list[int]) -> None:
                close_and_see()
                opening(task_ids)

            monkeypatch.setattr(engine, "_open_tasks", interrupted)
        with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
            call(engine)
        closing.join()
        for late in (step, lambda engine: engine.reset([0], [TASK_ID], [0]), lambda engine: engine.state(0)):
            with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
                late(engine)


def test_threads_take_turns(engine: NativeEngine) -> None:
    step(engine)
    expected = engine.state(0)
    engine.reset(range(ROWS), [TASK_ID] * ROWS, [0] * ROWS)
    actions = np.full((1, 20, 7), 0.5)
    callers = [threading.Thread(target=partial(engine.step, [row], actions, [20])) for row in range(ROWS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for row in range(ROWS):
        assert_same_state(engine.state(row), expected, f"row {row}")


def test_an_engine_that_nobody_holds_ends_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    for fails in (False, True):
        engine = native_engine(SUITE, num_rows=2, num_workers=2, image_size=32).__enter__()
        engine.reset([0, 1], [TASK_ID] * 2, [0, 1])
        if fails:  # the error holds on to the engine
            monkeypatch.setattr(libero_tasks, "init_states", lambda suite, task_id: np.zeros((1, 3)))
            with pytest.raises(ValueError, match="init_state"):
                engine.reset([0], [TASK_ID], [0])
        assert set(threading.enumerate()) > before
        del engine
        gc.collect()
        assert set(threading.enumerate()) == before


def test_threads_have_a_stack_of_their_own_size_whatever_the_users_limit() -> None:
    script = """
import sys
from ttrl_env.engines.native.threads import ThreadPool
nested = []
for _ in range(10_000):
    nested = [nested]
sys.setrecursionlimit(100_000)
pool = ThreadPool(1, image_size=8)
print(len(pool.start([lambda thread: repr(nested)], [[0]])[0].result()), flush=True)
pool.close()
import os
os._exit(0)  # to free the list is too deep for the limit
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    played = subprocess.run(
        ["bash", "-c", 'ulimit -s 128 && exec "$0" -c "$1"', sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (played.returncode, played.stdout) == (0, "20002\n"), played.stderr


def test_a_closed_pool_takes_no_jobs() -> None:
    pool = ThreadPool(1, image_size=8)
    pool.close()
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        pool.start([lambda thread: None], [[0]])
    pool.close()
