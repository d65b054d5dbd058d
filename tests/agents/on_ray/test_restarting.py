"""What the processes of a run do when they are started again, played here without Ray."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from tests.agents.distributed.distributed_runs import configuration, play
from tests.agents.on_ray.engines import AccidentEngine
from tests.agents.reach import ReachEngine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.on_ray.relay import Course, Relay, show
from ttrl_env.agents.on_ray.worker import Assignment, _from_where_it_is, _play
from ttrl_env.agents.training.train import LOOP
from ttrl_env.errors import ConfigError


class Handle:
    """Ray's handle of a relay, which is called at once."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def __getattr__(self, name: str):
        return SimpleNamespace(remote=getattr(self.relay, name))


class FailingEngine(AccidentEngine):
    def accident(self) -> None:
        raise RuntimeError("killed")


@pytest.fixture
def relay(monkeypatch) -> Relay:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda answer: answer))
    monkeypatch.setenv("RANK", "0")
    return Relay()


def start(relay: Relay, config, engine) -> Path:
    """What Ray Train has a process do."""
    assignment = Assignment(
        job=LOOP, config=config, engine=engine, relay=Handle(relay), started_in=os.getcwd()
    )
    return _play(assignment, relay.enter(True), True)


@pytest.mark.slow
def test_a_second_start_goes_on_from_the_last_checkpoint(relay, tmp_path) -> None:
    config = configuration(tmp_path / "ray", "grpo", Path("unused"), "launcher=ray", "iterations=3")
    engine = partial(FailingEngine, rank=0, after_steps=12, mark=tmp_path / "mark")
    with pytest.raises(RuntimeError, match="killed"):
        start(relay, config, engine)
    last = start(relay, config, engine)

    messages, failure = relay.take()
    screen = io.StringIO()
    with ExitStack() as bars:
        show(messages, Display(Console(file=screen, width=200)), bars)
    lines = screen.getvalue().splitlines()
    assert failure is None
    assert "Ray has started the processes again (failure 1 of at most 3)" in lines
    assert any(line.startswith("Resuming after iteration") for line in lines)
    numbers = [int(line.split()[1]) for line in lines if line.startswith("iteration ")]
    assert numbers[-1] == 3

    undisturbed = play(configuration(tmp_path / "one", "grpo", Path("unused"), "iterations=3"))
    expected, got = (load_file(path / "policy" / "model.safetensors") for path in (undisturbed, last))
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name


def test_the_driver_s_request_to_stop_ends_the_run_with_a_checkpoint(relay, tmp_path) -> None:
    config = configuration(tmp_path, "grpo", Path("unused"), "launcher=ray", "eval.episodes_per_task=1")
    relay.stop()
    assert start(relay, config, ReachEngine).name == "iteration_000000"


def test_a_run_that_has_not_begun_starts_as_it_was_asked_to(tmp_path) -> None:
    (tmp_path / "grpo" / "checkpoints" / "iteration_000004").mkdir(parents=True)
    config = configuration(tmp_path, "grpo", Path("unused"), "launcher=ray")
    config = replace(config, resume=str(tmp_path / "earlier"))
    began = Course(starts=1, began=True, failure=None)
    assert _from_where_it_is(config, replace(began, began=False)).resume == config.resume
    assert _from_where_it_is(config, began).resume == "auto"
    elsewhere = replace(config, output_dir=str(tmp_path / "empty"))
    assert _from_where_it_is(elsewhere, began).resume == config.resume


def test_a_relative_folder_needs_the_driver_s_working_folder(relay, tmp_path) -> None:
    config = replace(configuration(tmp_path, "grpo", Path("unused"), "launcher=ray"), output_dir="runs/x")
    assignment = Assignment(
        job=LOOP, config=config, engine=None, relay=Handle(relay), started_in=str(tmp_path / "gone")
    )
    with pytest.raises(ConfigError, match=r"output_dir: runs/x is meant from .*gone, which the node"):
        _play(assignment, relay.enter(True), True)
