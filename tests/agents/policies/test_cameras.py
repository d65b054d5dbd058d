"""A policy sees what it needs: environments made from a configuration render its cameras and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.agents.reach import ReachEngine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig
from ttrl_env.agents.training.train import train
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.errors import PolicyError

pytestmark = pytest.mark.slow

QUIET = Display(Console(quiet=True))

BOTH = ("agentview", "robot0_eye_in_hand")


class Cameras:
    """Makes reaching engines and keeps what each was asked to render."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, config: EngineConfig) -> ReachEngine:
        self.asked.append(tuple(config.cameras))
        return ReachEngine(config)


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    shape: dict[str, Any] = {"image_size": 16, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    TinyVLA(TinyVLAConfig(**shape, wrist_camera=True)).save_pretrained(folder / "wrist")
    TinyVLA(TinyVLAConfig(**shape)).save_pretrained(folder / "scene")
    TinyVLA(TinyVLAConfig(**shape, camera="robot0_eye_in_hand")).save_pretrained(folder / "hand")
    return folder


@pytest.mark.parametrize(("name", "cameras"), [("wrist", BOTH), ("scene", BOTH[:1]), ("hand", BOTH[1:])])
def test_training_renders_what_the_policy_sees(policies, tmp_path, name, cameras) -> None:
    settings = ["env.image_size=16", "env.max_steps=8", "env.n_samples=2", "iterations=1"]
    overrides = [f"policy.path={policies / name}", f"output_dir={tmp_path}", "eval.episodes_per_task=1"]
    engines = Cameras()
    train(load_config(TrainConfig, [*settings, *overrides]), QUIET, engines)
    assert engines.asked == [cameras]


@pytest.mark.parametrize(("name", "cameras"), [("wrist", BOTH), ("hand", BOTH)])
def test_an_evaluation_renders_what_either_policy_sees(policies, tmp_path, name, cameras) -> None:
    settings = ["env.image_size=16", "env.max_steps=8", "eval.episodes_per_task=1", f"output={tmp_path}/r"]
    overrides = [f"baseline={policies / 'scene'}", f"checkpoint={policies / name}"]
    engines = Cameras()
    report = evaluate_checkpoints(load_config(EvaluateConfig, [*settings, *overrides]), QUIET, engines)
    assert engines.asked == [cameras]
    assert len(report["evaluations"]) == 2
    assert len(report["videos"]) == 1


def test_the_wrist_image_reaches_the_policy(policies) -> None:
    policy = TinyVLA.from_pretrained(policies / "wrist")
    observations = {f"{camera}_image": np.zeros((1, 16, 16, 3), dtype=np.uint8) for camera in BOTH}
    dark = policy(**policy.prepare(observations, [""]))
    observations["robot0_eye_in_hand_image"] += 200
    assert not np.allclose(dark.detach(), policy(**policy.prepare(observations, [""])).detach())


def test_a_policy_for_another_world_is_refused_before_anything_is_made(policies, tmp_path) -> None:
    shape: dict[str, Any] = {"image_size": 16, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    TinyVLA(TinyVLAConfig(**shape, camera="head_camera", action_dim=14)).save_pretrained(tmp_path / "two")
    overrides = ["env.image_size=16", f"policy.path={tmp_path / 'two'}", f"output_dir={tmp_path / 'run'}"]
    engines = Cameras()
    with pytest.raises(PolicyError, match=r"policy.cameras: expected cameras of LIBERO .* head_camera"):
        train(load_config(TrainConfig, overrides), QUIET, engines)
    assert engines.asked == []
