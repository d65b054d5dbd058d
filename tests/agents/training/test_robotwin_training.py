"""Training and evaluating on RoboTwin, with a simulation of two arms in real worker processes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.agents.policies.tiny_openvla import write_state_checkpoint
from tests.agents.two_arms import make_two_armed_policy
from tests.ttrl_env.robotwin.asset_pack import write_asset_pack
from tests.ttrl_env.robotwin.fake_engine import behave, fake_engine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.training_state import read_state
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints
from ttrl_env.agents.policies import TinyVLA, load_policy
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.errors import ConfigError, EnvironmentDiedError, MissingDependencyError, PolicyError
from ttrl_env.robotwin.joint_limits import joint_limits

QUIET = Display(Console(quiet=True))

IMAGES = ("env.robotwin.image_height=32", "env.robotwin.image_width=48")

TIMES = ("seconds", "per_second", "memory", "_s")
"""What names a measurement of this machine, among metrics."""


@pytest.fixture(scope="module", autouse=True)
def assets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The assets of two tasks, whose simulation loads none."""
    with pytest.MonkeyPatch.context() as patch:
        folder = write_asset_pack(tmp_path_factory.mktemp("assets"))
        patch.setenv("TTRL_ROBOTWIN_ASSETS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a policy that succeeds now and then."""
    folder = tmp_path_factory.mktemp("policies") / "half"
    make_two_armed_policy().save_pretrained(folder)
    return folder


def configure(folder: Path, policy: Path, *overrides: str) -> TrainConfig:
    settings = (
        "test_time_rl=true",
        "env.task_ids=[stack_blocks_two,blocks_ranking_rgb]",
        *IMAGES,
        "env.max_steps=8",
        "env.n_samples=2",
        "env.num_groups=2",
        f"policy.path={policy}",
        f"output_dir={folder}",
        "iterations=2",
        "eval.episodes_per_task=1",
        "eval.every=0",
        *overrides,
    )
    return load_config(TrainConfig, settings)


def played(config: TrainConfig) -> tuple[Any, torch.Tensor]:
    """What a run has measured, but for times, and its last weights."""
    checkpoint = train(config, QUIET, fake_engine)
    folder = Path(config.output_dir)
    records = [read_records(folder, file) for file in (METRICS_FILE, EVALUATIONS_FILE)]
    measured = [
        {key: value for key, value in each.items() if not any(time in key for time in TIMES)}
        for each in [*records[0], *records[1]]
    ]
    policy = load_policy(checkpoint / "policy")
    assert isinstance(policy, TinyVLA)
    return measured, torch.cat([tensor.flatten() for tensor in policy.state_dict().values()])


@pytest.mark.slow
def test_a_run_does_not_depend_on_its_processes_nor_on_stopping(half, tmp_path) -> None:
    alone, weights = played(configure(tmp_path / "alone", half, "env.num_workers=1"))
    assert sum(each.get("rollout/success_rate", 0) for each in alone) > 0
    two, same = played(configure(tmp_path / "two", half, "env.num_workers=2"))
    assert two == alone
    assert torch.equal(same, weights)
    train(configure(tmp_path / "stopped", half, "iterations=1", "env.num_workers=1"), QUIET, fake_engine)
    resumed = load_config(TrainConfig, ["resume=auto", f"output_dir={tmp_path}/stopped", "iterations=2"])
    assert resumed.env.task_ids == (45, 2)
    went_on, weights_too = played(resumed)
    assert torch.equal(weights_too, weights)
    assert [each for each in went_on if "rollout/success_rate" in each] == [
        each for each in alone if "rollout/success_rate" in each
    ]


@pytest.mark.slow
def test_an_evaluation_is_reported_with_its_world_and_filmed(half, tmp_path) -> None:
    config = load_config(
        EvaluateConfig,
        [
            f"checkpoint={half}",
            "env.task_ids=[stack_blocks_two]",
            *IMAGES,
            "env.max_steps=6",
            "eval.episodes_per_task=3",
            "eval.temperatures=[1]",
            f"output={tmp_path}/report",
            "num_envs=2",
        ],
    )
    said = io.StringIO()
    report = evaluate_checkpoints(config, Display(Console(file=said, width=500)), fake_engine)
    assert said.getvalue().startswith("World: RoboTwin 2.0, demo_randomized")
    assert "LIBERO" not in said.getvalue() + json.dumps(report["statements"])
    assert report["protocol"]["robotwin"]["task_config"] == "demo_randomized"
    assert report["world"]["robotwin"]["numpy"] == np.__version__
    (evaluation,) = report["evaluations"]
    assert [each["init_state_id"] for each in evaluation["episodes"]] == [80, 81, 82]
    assert len(report["videos"]) == len({each["success"] for each in evaluation["episodes"]})
    again = evaluate_checkpoints(config, QUIET, fake_engine)
    assert again["evaluations"] == report["evaluations"]


def test_a_new_policy_has_two_arms_within_their_joints_limits_and_the_head_camera(assets, tmp_path) -> None:
    config = load_config(
        TrainConfig,
        [
            "env.task_ids=[stack_blocks_two]",
            *IMAGES,
            "env.max_steps=2",
            "env.n_samples=2",
            "policy.image_size=16",
            "policy.hidden_size=32",
            "policy.chunk_steps=2",
            f"output_dir={tmp_path}/run",
            "iterations=1",
            "eval.episodes_per_task=1",
        ],
    )
    checkpoint = train(config, QUIET, fake_engine)
    assert read_state(checkpoint).versions["robotwin/numpy"] == np.__version__
    policy = load_policy(checkpoint / "policy")
    assert isinstance(policy, TinyVLA)
    assert (policy.cameras, policy.action_dim, policy.chunk_steps) == (("head_camera",), 14, 2)
    assert policy.config.proprioception
    low, high = joint_limits(assets)
    assert (policy.action_range.low == low).all()
    assert (policy.action_range.high == high).all()


@pytest.mark.slow
def test_simplevla_rls_command_line_trains_its_kind_of_policy(tmp_path) -> None:
    checkpoint = write_state_checkpoint(tmp_path / "sft", "RoboTwin")
    theirs = f"""
        data.task_suite_name=robotwin2_stack_blocks_two data.n_samples=2 data.train_batch_size=1
        actor_rollout_ref.model.path={checkpoint} actor_rollout_ref.model.vla=openvla-oft
        actor_rollout_ref.model.action_token_len=14 actor_rollout_ref.model.action_chunks_len=25
        actor_rollout_ref.model.max_steps=30 actor_rollout_ref.actor.optim.lr=5e-6
        actor_rollout_ref.rollout.twin2_task_config=demo_randomized
        actor_rollout_ref.rollout.twin2_instruction_type=seen actor_rollout_ref.rollout.num_images_in_input=1
        actor_rollout_ref.rollout.use_proprio=True actor_rollout_ref.rollout.temperature=1.6
        actor_rollout_ref.rollout.unnorm_key=robotwin2_stack_blocks_two
        actor_rollout_ref.rollout.task_suite_name=robotwin2_stack_blocks_two
        trainer.default_local_dir={tmp_path}/run
    """
    size = ("env.robotwin.image_height=30", "env.robotwin.image_width=40")  # the tiny policy's own
    ours = ("test_time_rl=true", "iterations=1", "eval.episodes_per_task=1", "policy.device=cpu")
    with pytest.raises(ConfigError, match=r"cannot see images of 240 x 320: .* rendered at 30 x 40 pixels"):
        train(load_config(TrainConfig, [*theirs.split(), *ours]), QUIET, fake_engine)
    config = load_config(TrainConfig, [*theirs.split(), *ours, *size])
    (record,) = read_records(train(config, QUIET, fake_engine).parents[1], METRICS_FILE)
    assert record["update/logprob_difference"] < 1e-4
    assert record["rollout/success_rate"] == 0


def test_without_an_interpreter_nothing_begins(half, tmp_path) -> None:
    config = configure(tmp_path / "run", half, "env.robotwin_python=/nowhere/python")
    with pytest.raises(
        MissingDependencyError, match="expected the path of a Python interpreter, got '/nowhere"
    ):
        train(config, QUIET)
    assert not (tmp_path / "run" / METRICS_FILE).exists()


def test_a_policy_of_libero_is_refused_by_its_cameras(tiny_policy, tmp_path) -> None:
    tiny_policy.save_pretrained(tmp_path / "libero")
    with pytest.raises(PolicyError, match=r"expected cameras of RoboTwin .* reads agentview, of LIBERO"):
        train(configure(tmp_path / "run", tmp_path / "libero"), QUIET, fake_engine)


def test_a_worker_that_dies_ends_the_run_with_its_last_words(half, tmp_path) -> None:
    folder = write_asset_pack(tmp_path)
    behave(folder, dies_in="step")
    config = configure(tmp_path / "run", half, f"env.robotwin_assets={folder}")
    with pytest.raises(EnvironmentDiedError, match="the last words of this process"):
        train(config, QUIET, fake_engine)
