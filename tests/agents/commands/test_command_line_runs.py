"""As a new user would: train, stop with Ctrl-C, go on, and evaluate, for both kinds of policy."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.agents.policies.tiny_openvla import write_checkpoint
from tests.agents.reach import ReachEngine, make_tiny_policy
from ttrl_env.agents.cli import main
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records

pytestmark = pytest.mark.slow  # runs of processes of their own

GUIDE = Path(__file__).parents[3] / "docs/guide.md"

TINY_VLA = ["preset=tiny-cpu", "env.image_size=16"]

OPENVLA = ["preset=openvla-oft-1gpu", "env.image_size=32", "policy.openvla.dtype=float32", "env.num_groups=1"]

SMALL = ["test_time_rl=true", "env.max_steps=16", "env.n_samples=4", "ppo.minibatch_trajectories=4"]


class Interrupting(ReachEngine):
    """The reaching task, and a Ctrl-C while the fourth chunk of a run is executed."""

    chunks = 0

    def step(self, *arguments):
        Interrupting.chunks += 1
        if Interrupting.chunks == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(*arguments)


@pytest.fixture
def reach_engine(monkeypatch, tmp_path):
    """The reaching task in the place of the simulations that ``env.engine`` names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Interrupting, "chunks", 0)
    monkeypatch.setattr(
        "ttrl_env.vector_env.make_engine",
        lambda choice, config: choice(config) if callable(choice) else Interrupting(config),
    )


@pytest.mark.parametrize("kind", ["tiny_vla", "openvla"])
def test_a_run_is_stopped_continued_and_evaluated_from_the_command_line(
    kind, reach_engine, tmp_path, capsys
) -> None:
    if kind == "openvla":
        write_checkpoint(tmp_path / "start")
        settings = [*OPENVLA, "policy.openvla.decoding=parallel"]
    else:
        make_tiny_policy().save_pretrained(tmp_path / "start")
        settings = TINY_VLA
    command = ["train", *settings, *SMALL, "policy.path=start", "output_dir=runs/mine", "iterations=3"]
    command += ["eval.episodes_per_task=2", "env.task_ids=[0]", "resume=auto"]
    assert main(command) == 130
    said = capsys.readouterr().out
    assert "Stopped after iteration 1. Continue with resume=" in said
    assert "Policy:     start, " in said
    assert "Training:   3 iterations of 4 episodes on cpu, in runs/mine" in said
    if kind == "tiny_vla":
        assert "Rollout:    1 x 4 rows at temperatures 0.6 to 0.9, up to 16 steps each" in said
        assert "Evaluation: 2 held_out episodes before and after training" in said
    assert re.search(r"iteration +1 .* about 0:0\d:\d\d left", said)
    assert main(command) == 0
    assert "Checkpoint: runs/mine/checkpoints/iteration_000003" in capsys.readouterr().out
    records = read_records("runs/mine", METRICS_FILE)
    assert [record["iteration"] for record in records] == [1, 2, 3]
    named = set(re.findall(r"`((?:rollout|update|seconds)/\w+)`", GUIDE.read_text(encoding="utf-8")))
    assert named - set().union(*records) == set()  # the guide names metrics that exist

    evaluation = ["eval", "checkpoint=runs/mine", "baseline=start", "output=report", "videos=0"]
    assert main([*evaluation, "eval.temperatures=[0,0.7]", "eval.episodes_per_task=3"]) == 0
    shown = capsys.readouterr().out
    assert "Report: report/report.md" in shown
    assert "Episodes: 3 greedy and 3 sampled at T = 0.7 for each policy, up to 16 steps each" in shown
    assert "Checkpoint less baseline, sampled at T = 0.7:" in shown
    report = json.loads(Path("report/report.json").read_text())
    assert report["protocol"]["max_steps"] == 16  # as trained
    assert report["checkpoints"]["checkpoint"]["trained_on"]["iteration"] == 3
    assert [each["num_episodes"] for each in report["evaluations"]] == [3] * 4
