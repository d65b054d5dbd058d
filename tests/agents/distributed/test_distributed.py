"""Two real processes (torchrun, gloo) against one: the same rollouts, updates, files and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.agents.distributed import distributed_runs
from tests.agents.distributed.distributed_runs import RUNS, configuration, play
from tests.agents.policies.tiny_openvla import write_checkpoint
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.training_state import read_state
from ttrl_env.agents.distributed import processes
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.errors import ConfigError

pytestmark = pytest.mark.slow  # runs of several processes

ROUNDING = ("update/loss", "update/value_loss", "update/logprob_difference", "update/reference_kl")
"""Metrics close to zero that are sums of larger numbers of both signs."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """Where the runs are, and how the two processes ended."""

    folder: Path
    openvla: Path
    returncode: int
    stderr: str
    seconds_after_the_failure: float


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Every run by one process, here, and by two, started once: importing is most of their time."""
    folder = tmp_path_factory.mktemp("runs")
    openvla = write_checkpoint(tmp_path_factory.mktemp("openvla"))
    for name in RUNS:
        play(configuration(folder / "one", name, openvla))
    returncode, stderr = _torchrun(distributed_runs.__file__, str(folder), str(openvla))
    last_sign = (folder / "dying" / EVALUATIONS_FILE).stat().st_mtime
    return Played(
        folder=folder,
        openvla=openvla,
        returncode=returncode,
        stderr=stderr,
        seconds_after_the_failure=time.time() - last_sign,
    )


def _torchrun(*program: str) -> tuple[int, str]:
    """Exit code and standard error of two processes."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *program,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as torchrun:
        try:
            _, stderr = torchrun.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            torchrun.terminate()  # which ends its processes; killed, it would leave them behind
            raise
    return torchrun.returncode, stderr


def _weights(run: Path, iteration: int) -> dict[str, Tensor]:
    policy = run / "checkpoints" / f"iteration_{iteration:06d}" / "policy"
    (file,) = policy.glob("*.safetensors")
    return load_file(file)


def _distance(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return float(torch.cat([(first[key] - second[key]).flatten() for key in first]).norm())


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_play_and_report_what_one_does(played, name) -> None:
    one, two = (read_records(played.folder / side / name, METRICS_FILE) for side in ("one", "two"))
    assert [record["iteration"] for record in two] == [1, 2]
    for expected, got in zip(one, two, strict=True):
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            if key.startswith(("seconds/", "memory")):
                continue
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-4, abs=1e-5 if key.startswith(ROUNDING) else 1e-9)
            assert got[key] == value, key
        if got["update/steps"]:
            assert got["update/ratio_max_first"] == 1.0
    evaluations = (read_records(played.folder / side / name, EVALUATIONS_FILE) for side in ("one", "two"))
    assert next(evaluations) == next(evaluations)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_does(played, name) -> None:
    before, after = _weights(played.folder / "one" / name, 1), _weights(played.folder / "one" / name, 2)
    moved = _distance(before, after)
    assert moved > 1e-3
    for iteration, expected in ((1, before), (2, after)):
        # Adam turns rounding errors of a vanishing gradient into steps of full size
        assert _distance(_weights(played.folder / "two" / name, iteration), expected) < 2e-3 * moved


def test_the_runs_are_about_what_they_are_named_for(played) -> None:
    records = {name: read_records(played.folder / "two" / name, METRICS_FILE) for name in RUNS}
    assert max(record["rollout/draws"] for record in records["redraw"]) > 1
    assert [record["rollout/groups_kept"] for record in records["gae"]] == [1, 1]
    assert all(record["update/steps"] == record["update/stopped_early"] == 1 for record in records["redraw"])
    assert all(record["states/played"] > 0 for record in records["critic"])
    coolest, hottest = (records["critic"][1][f"rollout/temperature_{which}"] for which in ("min", "max"))
    assert coolest < 1.0 or hottest > 1.3  # the ladder that is shifted
    assert all(record["update/steps"] > 0 for run in records.values() for record in run)


def test_two_processes_note_the_outcomes_of_all(played) -> None:
    runs = [list_checkpoints(played.folder / side / "critic")[-1] for side in ("one", "two")]
    one, two = (read_state(checkpoint).outcomes for checkpoint in runs)
    assert one is not None
    assert one == two


def test_the_preset_computes_in_bfloat16_alike_in_rollout_and_update_and_keeps_float32(played) -> None:
    run = played.folder / "preset" / "openvla"
    for record in read_records(run, METRICS_FILE):
        assert record["update/ratio_max_first"] == 1.0
        assert record["update/logprob_difference"] < 1e-5
    before, after = _weights(run, 1), _weights(run, 2)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    moved = _distance(before, after)
    exact = _distance(*(_weights(played.folder / "two" / "openvla", iteration) for iteration in (1, 2)))
    assert moved == pytest.approx(exact, rel=0.2)


def test_two_processes_go_on_from_a_checkpoint_of_one(played) -> None:
    expected, got = (_weights(played.folder / side / "grpo", 2) for side in ("one", "resumed"))
    moved = _distance(_weights(played.folder / "one" / "grpo", 1), expected)
    assert _distance(expected, got) < 2e-3 * moved


def test_one_process_goes_on_from_a_checkpoint_of_two(played, tmp_path) -> None:
    start = played.folder / "two" / "grpo" / "checkpoints" / "iteration_000001"
    play(replace(configuration(tmp_path, "grpo", played.openvla), resume=str(start)))
    expected = _weights(played.folder / "one" / "grpo", 2)
    moved = _distance(_weights(played.folder / "one" / "grpo", 1), expected)
    assert _distance(expected, _weights(tmp_path / "grpo", 2)) < 2e-3 * moved


def test_checkpoints_do_not_show_how_many_processes_wrote_them(played) -> None:
    files = [
        torch.load(played.folder / side / "gae" / "checkpoints" / "iteration_000002" / "agent.pt")
        for side in ("one", "two")
    ]
    shapes = [
        {(index, name): value.shape for index, moments in file["optimizer"]["state"].items()
         for name, value in moments.items()}
        for file in files
    ]  # fmt: skip
    assert shapes[0] == shapes[1]
    assert files[0]["value_head"].keys() == files[1]["value_head"].keys()


def test_a_signal_to_one_process_stops_all_with_a_checkpoint(played) -> None:
    records = read_records(played.folder / "stopped", METRICS_FILE)
    saved = list_checkpoints(played.folder / "stopped")
    assert [record["iteration"] for record in records] == [1]
    assert saved[-1].name == "iteration_000001"


def test_groups_that_do_not_divide_are_refused_by_every_process(played) -> None:
    for rank in (0, 1):
        message = (played.folder / f"odd_{rank}").read_text()
        assert "env.num_groups" in message
        assert "multiple of the 2 processes, got 3" in message
    assert not (played.folder / "odd").exists()


def test_a_process_that_fails_ends_all_with_its_message(played) -> None:
    assert played.returncode != 0
    assert "the simulation of libero_spatial task 0 was killed" in played.stderr
    assert "cannot go on, as another one has ended" in played.stderr
    assert played.seconds_after_the_failure < 30
    assert len(read_records(played.folder / "dying", METRICS_FILE)) == 1
    assert list_checkpoints(played.folder / "dying")[-1].name == "iteration_000001"


def test_parts_are_equal_and_complete() -> None:
    rows = np.arange(12)
    parts = [rows[World(rank=rank, size=3).part(12)] for rank in range(3)]
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert {len(part) for part in parts} == {4}


def test_a_process_alone_keeps_what_it_has() -> None:
    assert ALONE.gather(3) == [3]
    assert ALONE.in_step([1, 2]) == [1, 2]
    assert ALONE.part(5) == slice(0, 5)
    assert ALONE.num_workers is None
    with pytest.raises(ZeroDivisionError):
        ALONE.on_main(lambda: 1 // 0)


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "4"}])
def test_one_process_or_none_started_by_torchrun_is_alone(monkeypatch, environment) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with processes.join_world("auto") as world:
        assert world.alone


def test_several_processes_cannot_share_a_gpu(monkeypatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"policy\.device.*each takes a GPU of its own"):
        processes.join_world("cuda:0").__enter__()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"got 1 and a process of local rank 1.*--nproc-per-node"):
        processes.join_world("cuda").__enter__()


@pytest.mark.parametrize(
    ("visible", "devices", "chosen"),
    [("", 2, "1"), ("4,5", 8, "5"), ("", 1, None), ("GPU-ab,GPU-cd", 8, None)],
)
def test_a_process_draws_on_its_own_gpu_where_egl_sees_it(monkeypatch, visible, devices, chosen) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "")  # so that it is put back
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID")
    monkeypatch.setattr(processes, "_num_egl_devices", lambda: devices)
    processes._render_on(1)
    assert os.environ.get("MUJOCO_EGL_DEVICE_ID") == chosen
