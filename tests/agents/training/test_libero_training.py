"""Training on real LIBERO from the command line, as a user runs, interrupts and resumes it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records

pytestmark = pytest.mark.libero

SETTINGS = (
    "test_time_rl=true",
    "env.suite=libero_spatial",
    "data.n_samples=2",
    "actor_rollout_ref.model.max_steps=16",
    "env.image_size=64",
    "policy.image_size=32",
    "policy.hidden_size=32",
    "eval.episodes_per_task=1",
)


def _start(folder: Path, *settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ttrl_env.agents", "train", *SETTINGS, *settings]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_run_is_interrupted_resumed_and_evaluated(tmp_path) -> None:
    run = _start(tmp_path, "iterations=1000", "output_dir=run")
    metrics = tmp_path / "run" / METRICS_FILE
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert "Continue with resume=" in output
    completed = read_records(tmp_path / "run", METRICS_FILE)[-1]["iteration"]
    assert list_checkpoints(tmp_path / "run")[-1].name == f"iteration_{completed:06d}"

    resumed = _start(tmp_path, f"iterations={completed + 1}", "output_dir=run", "resume=auto")
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, output
    assert f"Resuming after iteration {completed}" in output
    records = read_records(tmp_path / "run", METRICS_FILE)
    assert [record["iteration"] for record in records] == list(range(1, completed + 2))
    assert records[-1]["rollout/temperatures"] == pytest.approx([0.6, 0.9])
    assert records[-1]["rollout/finish_steps"] == [16, 16]

    command = [sys.executable, "-m", "ttrl_env.agents", "eval", "checkpoint=run", "num_envs=1"]
    evaluated = subprocess.run(
        [*command, "eval.episodes_per_task=2", "videos=0", "output=report"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["protocol"]["suite"], report["protocol"]["max_steps"]) == ("libero_spatial", 16)
    assert [episode["init_state_id"] for episode in report["evaluations"][0]["episodes"]] == [40, 41]


@pytest.mark.thorough
def test_doctor_finds_this_machine_healthy() -> None:
    command = [sys.executable, "-m", "ttrl_env.agents", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "simulation: both engines built, reset and rendered the same image" in done.stdout
    assert "FAILED" not in done.stdout
