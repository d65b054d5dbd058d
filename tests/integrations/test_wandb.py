"""Weights & Biases itself records runs, without a connection."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.agents.training.test_wandb import make_configuration, train_quietly
from ttrl_env.agents.training.wandb_run import WANDB_FILE

pytestmark = pytest.mark.integrations


def test_a_run_and_its_continuation_are_one_record(tmp_path, monkeypatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = make_configuration(tmp_path / "run")
    train_quietly(config)
    stored = json.loads((tmp_path / "run" / WANDB_FILE).read_text())
    train_quietly(replace(config, iterations=3, resume="auto"))
    runs = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert all(run.name.endswith(stored["id"]) for run in runs)
    assert wandb.run is None  # both were finished
    assert list(runs[0].glob("files/media/videos/**/*.mp4"))
    assert list(runs[0].glob("files/media/table/**/*.json"))
