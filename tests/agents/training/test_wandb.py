"""Runs in Weights & Biases, with a double in the package's place; ``tests/integrations`` has the package."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from tests.agents.reach import ReachEngine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.training import loop
from ttrl_env.agents.training import train as training
from ttrl_env.agents.training.wandb_run import WANDB_FILE, WandbRun
from ttrl_env.errors import CheckpointError, MissingDependencyError

REPORT = {
    "tasks": {3: {"num_episodes": 2, "success_rate": 0.5, "success_rate_interval_95": [0.1, 0.9]}},
}


class FakeWandb(ModuleType):
    """Keeps what it is told, as one run after the other."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None, origin="here")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.steps: dict[str, Any] = {}
        self.finished = 0

    def init(self, **settings: Any) -> FakeWandb:
        self.begun.append(settings)
        return self

    def define_metric(self, name: str, **settings: Any) -> None:
        self.steps[name] = settings.get("step_metric")

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.finished += 1

    def Table(self, *, columns: list[str], data: list[list[Any]]) -> list[list[Any]]:
        assert all(len(row) == len(columns) for row in data)
        return data

    def Video(self, path: str, *, format: str) -> str:
        assert Path(path).suffix == f".{format}"
        return path


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def begin(wandb: FakeWandb, tmp_path: Path) -> Callable[..., WandbRun]:
    def begin(project: str = "some-project", *, resumed: bool = False) -> WandbRun:
        return WandbRun(project, tmp_path / "lifted", {"seed": 1}, resumed=resumed)

    return begin


def test_a_resumed_run_goes_on_in_its_record(wandb, begin, tmp_path) -> None:
    begin()
    begin(resumed=True)
    first, second = wandb.begun
    assert first == second
    assert (first["name"], first["dir"]) == ("lifted", str(tmp_path / "lifted"))
    assert (first["resume"], first["config"]) == ("allow", {"seed": 1})
    assert wandb.steps["*"] == "iteration"


def test_a_new_run_or_another_project_has_a_record_of_its_own(wandb, begin) -> None:
    begin()
    begin(resumed=False)
    begin("another-project", resumed=True)
    assert len({settings["id"] for settings in wandb.begun}) == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"project": "some-project", "id": "../x"}', "{}"])
def test_a_damaged_record_of_the_id_is_named(begin, tmp_path, content) -> None:
    (tmp_path / "lifted").mkdir()
    (tmp_path / "lifted" / WANDB_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=WANDB_FILE):
        begin(resumed=True)


def test_iterations_are_the_axis_of_every_curve(wandb, begin, tmp_path) -> None:
    run = begin()
    run.log(7, {"rollout/success_rate": 0.5})
    run.log_evaluation(7, REPORT, tmp_path / "x.mp4")
    run.finish()
    assert wandb.logged == [
        {"rollout/success_rate": 0.5, "iteration": 7},
        {
            "evaluation/tasks": [[3, 2, 0.5, 0.1, 0.9]],
            "evaluation/video": str(tmp_path / "x.mp4"),
            "iteration": 7,
        },
    ]
    assert wandb.finished == 1


def test_a_missing_package_is_noticed_before_anything_is_built(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wandb").mkdir()  # as runs leave it: no package
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if not (Path(entry) / "wandb" / "apis").exists()]
    )
    config = load_config(TrainConfig, ["wandb_project=x", f"output_dir={tmp_path / 'run'}"])
    monkeypatch.setattr(loop, "_Run", lambda *_: pytest.fail("something was built"))
    with pytest.raises(MissingDependencyError, match=r"wandb_project: .*pip install 'ttrl-env\[wandb\]'"):
        training.train(config)
    assert not (tmp_path / "run").exists()


def make_configuration(folder: Path) -> TrainConfig:
    settings = [
        "test_time_rl=true",
        "iterations=2",
        "env.n_samples=4",
        "env.max_steps=24",
        "env.image_size=16",
    ]
    settings += ["policy.image_size=16", "policy.hidden_size=32", "eval.episodes_per_task=1"]
    return load_config(TrainConfig, [*settings, "wandb_project=some-project", f"output_dir={folder}"])


def train_quietly(config: TrainConfig) -> None:
    training.train(config, Display(Console(quiet=True)), ReachEngine)


@pytest.mark.slow  # whole runs
def test_a_run_shows_its_curves_tasks_and_videos_and_trains_as_without(wandb, tmp_path) -> None:
    config = make_configuration(tmp_path / "run")
    train_quietly(config)
    assert [each["iteration"] for each in wandb.logged if "rollout/success_rate" in each] == [1, 2]
    videos = [Path(each["evaluation/video"]) for each in wandb.logged if "evaluation/video" in each]
    assert [video.name for video in videos] == ["iteration_000000.mp4", "iteration_000002.mp4"]
    assert all(video.stat().st_size > 0 for video in videos)
    assert wandb.finished == 1
    train_quietly(replace(config, wandb_project=None, output_dir=str(tmp_path / "plain")))
    weights = [
        (tmp_path / name / "checkpoints/iteration_000002/policy/model.safetensors").read_bytes()
        for name in ("run", "plain")
    ]
    assert weights[0] == weights[1]
    assert not (tmp_path / "plain" / "videos").exists()
