"""The upstream engine's processes: what they share, how they die, that none stays behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.ttrl_env.stove import STOVE, SUCCESS_STEPS
from ttrl_env.engines import observations as shared_arrays
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import EngineConfig, SimState
from ttrl_env.engines.libero.engine import LiberoEngine, _start_worker
from ttrl_env.errors import EnvironmentClosedError, EnvironmentDiedError, MissingDependencyError
from ttrl_env.vector_env import TTRLVectorEnv

pytestmark = pytest.mark.libero


def spawn(num_rows: int = 2, num_workers: int | None = 2) -> LiberoEngine:
    return LiberoEngine(
        EngineConfig(suite="libero_spatial", num_rows=num_rows, image_size=64, num_workers=num_workers)
    )


def pids(engine: LiberoEngine) -> list[int]:
    return [worker.pid for worker in engine._workers]


def wait_until_gone(processes: list[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while alive := [pid for pid in processes if psutil.pid_exists(pid) and _runs(pid)]:
        assert time.monotonic() < deadline, f"processes {alive} are still running"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_bitwise_identical(states: list[SimState]) -> None:
    for state in states[1:]:
        for name in ("time", "qpos", "qvel", "body_pos", "body_quat", "body_xpos"):
            np.testing.assert_array_equal(
                np.asarray(getattr(state, name)), np.asarray(getattr(states[0], name)), err_msg=name
            )


@pytest.mark.usefixtures("turning_stove")
def test_rows_of_a_group_start_bitwise_identical_across_processes_and_resets(stove_engine: Callable) -> None:
    envs = TTRLVectorEnv(**STOVE, engine=stove_engine, autoreset_mode="disabled", max_steps=20)
    for _ in range(2):
        observations, _ = envs.reset(seed=0, options={"init_state_ids": [2]})
        first = [envs.engine.state(row) for row in range(3)]
        assert_bitwise_identical(first)
        for array in observations.values():
            np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape))
        for step in range(3):  # rows part ways, and one of them goes further
            actions = np.random.default_rng(step).uniform(-1, 1, (3, 7))
            envs.step(actions)
        assert (envs.engine.state(0).qpos != envs.engine.state(1).qpos).any()
        mask = np.array([True, False, True])
        envs.reset(options={"reset_mask": mask, "init_state_ids": [2]})
        assert_bitwise_identical([first[0], envs.engine.state(0), envs.engine.state(2)])
    fixtures = [name for name in first[0].body_names if name.startswith(("wooden_cabinet", "flat_stove"))]
    assert len(fixtures) >= 2  # so body_pos above did cover fixtures


@pytest.mark.usefixtures("turning_stove")
def test_equal_actions_give_equal_trajectories_in_different_processes(stove_engine: Callable) -> None:
    envs = TTRLVectorEnv(**STOVE, engine=stove_engine, autoreset_mode="disabled", max_steps=20)
    envs.reset(seed=0, options={"init_state_ids": [2]})
    for step in range(3):
        action = np.random.default_rng(step).uniform(-1, 1, 7)
        observations, *_ = envs.step(np.tile(action, (3, 1)))
        assert_bitwise_identical([envs.engine.state(row) for row in range(3)])
        for array in observations.values():
            np.testing.assert_array_equal(array, np.broadcast_to(array[:1], array.shape))


@pytest.mark.usefixtures("turning_stove")
def test_success_does_not_depend_on_the_reward(stove_engine: Callable) -> None:
    rewards = {}
    for test_time_rl in (True, False):
        envs = TTRLVectorEnv(
            **STOVE, test_time_rl=test_time_rl, engine=stove_engine, chunk_steps=7, max_steps=7
        )
        for state, success_step in enumerate(SUCCESS_STEPS):
            envs.reset(options={"init_state_ids": [state]})
            _, rewards[test_time_rl, state], *_, infos = envs.step(np.zeros((3, 7, 7)))
            assert infos["success"].tolist() == [success_step is not None] * 3
            assert infos["finish_step"].tolist() == [success_step or 7] * 3
    np.testing.assert_allclose([rewards[True, state][0] for state in range(3)], [0.7, 7 / 13, 0.0])
    np.testing.assert_allclose([rewards[False, state][0] for state in range(3)], [1.0, 1.0, 0.0])


def test_a_killed_worker_is_reported_with_its_task_and_the_others_are_stopped() -> None:
    engine = spawn()
    processes = pids(engine)
    killer = threading.Timer(0.5, os.kill, (processes[1], signal.SIGKILL))
    killer.start()
    begun = time.monotonic()
    with pytest.raises(EnvironmentDiedError) as caught:
        engine.reset([0, 1], [4, 5], [0, 0])  # takes longer than half a second
    killer.join()
    assert time.monotonic() - begun < 15
    assert "exit code -9" in str(caught.value)
    assert "reset of libero_spatial (row 1: task 5)" in str(caught.value)
    wait_until_gone(processes, 1.0)
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        engine.reset([0], [4], [0])


def test_an_exception_in_a_worker_arrives_with_its_traceback_and_task() -> None:
    engine = spawn()
    processes = pids(engine)
    with pytest.raises(EnvironmentDiedError) as caught:
        engine.reset([0, 1], [77, 77], [0, 0])
    message = str(caught.value)
    assert "libero_spatial task 77" in message
    assert "Traceback (most recent call last)" in message
    assert "libero_spatial has tasks 0 to 9, got 77" in message
    wait_until_gone(processes, 1.0)


def test_workers_import_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "threading", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    config = EngineConfig(suite="libero_spatial", num_rows=1)
    _, fd = shared_arrays.create(config)
    worker = _start_worker(config, fd)
    os.close(fd)
    worker.hang_up()
    assert worker._process.wait(timeout=120) == 0
    worker.stop(0.0)


def test_a_worker_that_cannot_start_is_reported_with_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentDiedError, match="exit code 1"):
        spawn().reset([0, 1], [0, 0], [0, 0])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where a shell started pytest in the background and has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_closes_the_engine_rather_than_mixing_up_answers() -> None:
    engine = spawn()
    processes = pids(engine)
    interrupt = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        engine.reset([0, 1], [0, 0], [0, 0])
    interrupt.join()
    wait_until_gone(processes, 1.0)
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        engine.step([0], np.zeros((1, 1, 7)), [1])


def test_no_process_outlives_close() -> None:
    engine = spawn(num_rows=3, num_workers=2)
    processes = pids(engine)
    assert len(processes) == 2
    assert all(psutil.pid_exists(pid) for pid in processes)
    engine.close()
    engine.close()
    assert not any(psutil.pid_exists(pid) for pid in processes)


def test_no_process_outlives_an_engine_that_nobody_holds() -> None:
    engine = spawn()
    processes = pids(engine)
    del engine
    gc.collect()
    assert not any(psutil.pid_exists(pid) for pid in processes)


def test_a_call_under_way_is_told_when_another_thread_closes() -> None:
    engine = spawn(num_rows=1, num_workers=1)
    closing = threading.Timer(0.5, engine.close)
    closing.start()
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        engine.reset([0], [0], [0])  # takes longer than half a second
    closing.join()


@pytest.fixture
def parent() -> Iterator[subprocess.Popen]:
    """Another Python that built an engine and is busy resetting it; it prints its workers' pids."""
    code = (
        "from ttrl_env.engines.interface import EngineConfig\n"
        "from ttrl_env.engines.libero.engine import LiberoEngine\n"
        "import os, time\n"
        "engine = LiberoEngine(EngineConfig(suite='libero_spatial', num_rows=2, num_workers=2))\n"
        "forked = os.fork()\n"  # a child that keeps the connections open, as data loaders do
        "if forked == 0:\n    time.sleep(30); os._exit(0)\n"
        "print(forked, *(worker.pid for worker in engine._workers), flush=True)\n"
        "engine.reset([0, 1], [0, 0], [0, 0])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_no_process_outlives_a_killed_parent(parent: subprocess.Popen) -> None:
    assert parent.stdout is not None
    forked, *processes = (int(pid) for pid in parent.stdout.readline().split())
    assert len(processes) == 2
    time.sleep(0.5)
    assert all(_runs(pid) for pid in processes)
    parent.kill()
    try:
        wait_until_gone(processes, 10.0)
    finally:
        os.kill(forked, signal.SIGKILL)


def test_worker_count_defaults_to_the_cores_and_never_exceeds_the_rows() -> None:
    engine = spawn(num_rows=1, num_workers=None)
    assert len(pids(engine)) == 1
    engine.close()


def test_missing_gl_library_is_reported_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    with pytest.raises(MissingDependencyError, match=r"libEGL, libGL.*apt-get install -y libegl1"):
        TTRLVectorEnv("libero_spatial")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(MissingDependencyError, match=r"libOSMesa.*apt-get install -y libosmesa6"):
        TTRLVectorEnv("libero_spatial")


def test_gl_backend_is_egl_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    assert opengl.choose_backend() == "egl"
    assert os.environ["PYOPENGL_PLATFORM"] == "egl"
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert opengl.choose_backend() == "osmesa"
