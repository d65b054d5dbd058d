"""RoboTwin's engine over real worker processes: starts, chunks, failures, ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.error import ResetNeeded

from tests.ttrl_env.robotwin.fake_engine import behave, fake_engine
from tests.ttrl_env.robotwin.fake_simulation import goal, start
from ttrl_env.errors import (
    EnvironmentClosedError,
    EnvironmentDiedError,
    ForkedProcessError,
    NoStableSeedError,
    StartsDifferError,
)
from ttrl_env.robotwin.catalogue import task_id_of
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.seeds import MAX_TRIES, candidate_seeds

TASK = "stack_blocks_two"
TASK_ID = task_id_of(TASK)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where simulations look how to behave."""
    return tmp_path


@pytest.fixture
def made() -> Iterator[list[RoboTwinEngine]]:
    """Engines to close when the test is over."""
    engines: list[RoboTwinEngine] = []
    yield engines
    for engine in engines:
        engine.close()


@pytest.fixture
def make(made: list[RoboTwinEngine], folder: Path):
    def make(num_rows: int = 4, num_workers: int = 2, **settings: Any) -> RoboTwinEngine:
        settings = {"image_height": 6, "image_width": 8, "assets": str(folder), **settings}
        made.append(fake_engine(RoboTwinConfig(num_rows=num_rows, num_workers=num_workers, **settings)))
        return made[-1]

    return make


def begin(engine: RoboTwinEngine, state: int = 0) -> None:
    rows = range(engine.config.num_rows)
    engine.reset(list(rows), [TASK_ID] * len(rows), [state] * len(rows))


def go(engine: RoboTwinEngine, rows: list[int], steps: int = 3, limit: int | None = None) -> Any:
    """Aim at the goal of each row's seed."""
    chunks = np.stack([np.tile(goal(TASK, int(engine.seeds[row])), (steps, 1)) for row in rows])
    return engine.step(rows, chunks, [limit or steps] * len(rows))


def pids(engine: RoboTwinEngine) -> list[int]:
    return engine._workers.pids


def test_rows_of_one_state_start_alike_in_all_workers(make) -> None:
    engine = make(cameras=("left_camera", "head_camera"))
    begin(engine, 7)
    assert engine.seeds.tolist() == [100_007] * 4
    assert engine.instructions == ["do stack blocks two, way 5"] * 4
    assert list(engine.observations) == ["left_camera_image", "head_camera_image", "joint_state"]
    assert engine.observations["left_camera_image"].shape == (4, 6, 8, 3)
    np.testing.assert_array_equal(engine.observations["joint_state"], np.tile(start(TASK, 100_007), (4, 1)))
    assert [engine.state(row).qpos for row in range(4)] == [start(TASK, 100_007).tolist()] * 4
    assert engine.observations["head_camera_image"].any()


def test_a_row_stops_at_the_action_that_succeeds_or_at_its_limit(make) -> None:
    engine = make(num_rows=3)
    begin(engine)
    before = engine.observations["joint_state"].copy()
    result = engine.step([2, 0], np.stack([np.tile(goal(TASK, 100_000), (5, 1)), np.zeros((5, 14))]), [5, 4])
    assert result.executed_steps.tolist() == [2, 4]
    assert result.success.tolist() == [True, False]
    assert result.failure == [None, None]
    np.testing.assert_array_equal(engine.observations["joint_state"][1], before[1])  # it was not asked
    assert engine.state(0).qpos == (before[0] / 16).tolist()
    np.testing.assert_array_equal(engine.observations["joint_state"][0], before[0] / 16)


def test_equal_actions_lead_to_equal_states_in_different_workers(make) -> None:
    engine = make(num_rows=2)
    begin(engine)
    chunk = np.random.default_rng(0).uniform(-1, 1, (25, 14)) * np.pi
    engine.step([0, 1], np.stack([chunk, chunk]), [25, 25])
    assert engine.state(0) == engine.state(1)


def test_a_diverged_row_says_why_and_the_others_go_on(make, folder: Path) -> None:
    engine = make(num_rows=2)
    begin(engine)
    behave(folder, fails_at=3)
    result = engine.step([0, 1], np.zeros((2, 5, 14)), [5, 2])
    assert result.executed_steps.tolist() == [3, 2]
    assert result.failure == ["joint positions are NaN", None]


def test_starts_that_differ_between_workers_are_refused(make, folder: Path) -> None:
    engine = make(num_rows=2)
    behave(folder, differs=True)
    with pytest.raises(StartsDifferError, match=r"row 1 does not start stack_blocks_two, seed 100000, as"):
        begin(engine)
    with pytest.raises(ResetNeeded, match=r"left rows \[0\] halfway"):
        engine.state(0)
    behave(folder)
    engine.reset([0, 1], [TASK_ID] * 2, [1, 1])
    go(engine, [0, 1])


def test_a_row_reset_later_must_start_as_its_group_did(make, folder: Path) -> None:
    engine = make(num_rows=2)
    begin(engine)
    behave(folder, differs=True)
    with pytest.raises(StartsDifferError, match="row 0"):
        engine.reset([0], [TASK_ID], [0])
    go(engine, [1])


def test_unstable_seeds_are_passed_over_and_remembered_for_all_processes(
    make, folder: Path, cache: Path
) -> None:
    engine = make()
    behave(folder, unstable=[100_003, 100_103, 100_004])
    engine.reset([0, 1, 2, 3], [TASK_ID] * 4, [3, 3, 4, 5])
    assert engine.seeds.tolist() == [100_203, 100_203, 100_104, 100_005]
    (file,) = (cache / "robotwin").iterdir()
    assert sorted(file.read_text().splitlines()) == [f"{TASK} {seed}" for seed in (100_003, 100_004, 100_103)]
    behave(folder)  # they would now be stable, but are not tried again
    another = make(num_rows=1)
    another.reset([0], [TASK_ID], [3])
    assert another.seeds.tolist() == [100_203]


def test_what_is_unstable_with_other_settings_is_found_out_anew(make, folder: Path) -> None:
    behave(folder, unstable=[100_000])
    make(num_rows=1).reset([0], [TASK_ID], [0])
    behave(folder)
    engine = make(num_rows=1, task_config="demo_clean")
    engine.reset([0], [TASK_ID], [0])
    assert engine.seeds.tolist() == [100_000]


def test_a_state_without_a_stable_seed_is_an_error(make, folder: Path, cache: Path) -> None:
    engine = make(num_rows=1)
    behave(folder, unstable=list(candidate_seeds(9)))
    for _ in range(2):
        with pytest.raises(NoStableSeedError, match=rf"state 9 of {TASK} .* among {MAX_TRIES}.*{cache}"):
            engine.reset([0], [TASK_ID], [9])
    engine.reset([0], [TASK_ID], [8])


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"dies_in": "step"}, r"exit code 3 during step of row 0: stack_blocks_two, seed 100000; row 2: "),
        ({"dies_in": "step"}, "the last words of this process"),
        (
            {"raises_in": "step"},
            r"(?s)while stepping row 0: stack_blocks_two, seed 100000:\nTrace.*Arith",
        ),
        ({"hangs_in": "step"}, r"(?s)did not answer within 2 s during step of row 0: .* in _misbehave"),
    ],
)
def test_a_worker_that_fails_is_reported_and_replaced_by_the_next_reset(
    make, folder: Path, behaviour: dict, message: str
) -> None:
    engine = make(step_timeout_seconds=1.0 if "hangs_in" in behaviour else 600.0)
    begin(engine)
    first, second = pids(engine)
    behave(folder, **behaviour)
    with pytest.raises(EnvironmentDiedError, match=message):
        go(engine, [0, 2])
    behave(folder)
    assert go(engine, [1, 3]).executed_steps.tolist() == [2, 2]  # of the other worker
    for row in (0, 2):
        with pytest.raises(ResetNeeded, match=rf"left rows \[{row}\] halfway; reset them"):
            go(engine, [row])
    engine.reset([0, 2], [TASK_ID] * 2, [0, 1])
    assert go(engine, [0, 2]).success.tolist() == [True, True]
    assert pids(engine)[1] == second
    assert pids(engine)[0] != first
    assert not psutil.pid_exists(first)


@pytest.mark.parametrize("behaviour", [{"dies_in": "step"}, {"raises_in": "step"}, {"hangs_in": "step"}])
def test_one_reset_is_enough_after_workers_that_failed_at_once(make, folder: Path, behaviour: dict) -> None:
    engine = make(step_timeout_seconds=1.0 if "hangs_in" in behaviour else 600.0)
    begin(engine)
    behave(folder, **behaviour)
    with pytest.raises(EnvironmentDiedError):
        go(engine, [0, 1, 2, 3])
    behave(folder)
    engine.reset([0, 1], [TASK_ID] * 2, [0, 1])
    assert go(engine, [0, 1]).success.tolist() == [True, True]
    with pytest.raises(ResetNeeded, match=r"rows \[2, 3\]"):
        go(engine, [2, 3])


def test_a_worker_that_died_unnoticed_is_replaced_and_its_other_rows_must_be_reset(make) -> None:
    engine = make()
    begin(engine)
    os.kill(pids(engine)[0], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pids(engine)[0])], timeout=10)
    engine.reset([0], [TASK_ID], [0])
    go(engine, [0, 1, 3])
    with pytest.raises(ResetNeeded, match=r"rows \[2\]"):
        go(engine, [2])


def test_a_worker_that_dies_while_it_resets_is_reported_with_its_seed(make, folder: Path) -> None:
    engine = make(num_rows=1)
    behave(folder, dies_in="reset")
    with pytest.raises(EnvironmentDiedError, match=r"reset of row 0: stack_blocks_two, seed 100002\."):
        engine.reset([0], [TASK_ID], [2])
    behave(folder)
    begin(engine)


def test_all_rows_of_a_dead_worker_must_be_reset(make, folder: Path) -> None:
    engine = make(num_rows=4)
    begin(engine)
    os.kill(pids(engine)[0], signal.SIGKILL)
    with pytest.raises(EnvironmentDiedError, match="exit code -9 during step of row 0"):
        go(engine, [0])
    with pytest.raises(ResetNeeded, match=r"rows \[2\]"):
        go(engine, [2])
    go(engine, [1, 3])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where a shell started pytest in the background and has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_an_interrupted_step_leaves_is_waited_for_and_discarded(make, folder: Path) -> None:
    engine = make(num_rows=2)
    begin(engine)
    workers = pids(engine)
    behave(folder, sleeps_s=1.0)
    threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        go(engine, [0, 1])
    behave(folder)
    with pytest.raises(ResetNeeded, match=r"left rows \[0, 1\] halfway"):
        go(engine, [0, 1])
    begin(engine)
    assert engine.state(0).qpos == start(TASK, 100_000).tolist()
    assert go(engine, [0, 1]).executed_steps.tolist() == [2, 2]
    assert pids(engine) == workers


def test_a_call_under_way_is_told_when_another_thread_closes(make, folder: Path) -> None:
    engine = make(num_rows=1)
    begin(engine)
    behave(folder, hangs_in="step")
    closing = threading.Timer(0.3, engine.close)
    closing.start()
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        go(engine, [0])
    closing.join()
    with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
        begin(engine)


def test_threads_take_turns(make) -> None:
    engine = make(num_rows=4, num_workers=1)
    begin(engine)
    threads = [threading.Thread(target=go, args=(engine, [row])) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(engine.state(row).qpos) for row in range(4)}) == 1


def test_a_forked_process_is_told_that_the_workers_are_its_parents(make) -> None:
    engine = make(num_rows=1)
    begin(engine)
    child = os.fork()
    if child == 0:
        try:
            go(engine, [0])
        except ForkedProcessError:
            engine.close()
            os._exit(0)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go(engine, [0])  # the child's close() has not ended them


def open_memory() -> int:
    """Descriptors and mappings of shared memory that this process has."""
    descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    return sum("memfd:ttrl_env" in each for each in (*descriptors, *Path("/proc/self/maps").open()))


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("closed", [True, False])
def test_an_engine_leaves_no_processes_and_no_memory(make, made: list, closed: bool) -> None:
    before = open_memory()
    engine = make()
    begin(engine)
    processes = pids(engine)
    assert open_memory() > before
    if closed:
        engine.close()
        engine.close()
    made.clear()
    del engine
    gc.collect()
    assert not any(psutil.pid_exists(pid) for pid in processes)
    assert open_memory() == before


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import time
from ttrl_env.robotwin.config import RoboTwinConfig
from tests.ttrl_env.robotwin.fake_engine import behave, fake_engine
from pathlib import Path
engine = fake_engine(RoboTwinConfig(num_rows=2, num_workers=2, assets={str(tmp_path)!r}))
engine.reset([0, 1], [{TASK_ID}] * 2, [0, 0])
behave(Path({str(tmp_path)!r}), hangs_in="reset")
print(*engine._workers.pids, flush=True)
engine.reset([0, 1], [{TASK_ID}] * 2, [0, 0])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        processes = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(processes) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_request_that_is_wrong_changes_nothing(make) -> None:
    engine = make(num_rows=2)
    begin(engine)
    for rows, task_ids, states, message in (
        ([0], [50], [0], "task_ids"),
        ([0], [0], [100], "init_state"),
        ([2], [0], [0], "rows"),
        ([0, 0], [0, 0], [0, 0], "rows"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.reset(rows, task_ids, states)
    go(engine, [0, 1])
    with pytest.raises(ValueError, match="play nothing yet"):
        make(num_rows=1).state(0)
