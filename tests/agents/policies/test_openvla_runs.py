"""Whole training runs of an OpenVLA-shaped policy: trained, stopped, resumed, evaluated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.agents.policies.openvla_inputs import load
from tests.agents.reach import ReachEngine
from ttrl_env.agents.cli import main
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints
from ttrl_env.agents.training import checkpoints
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.slow  # whole runs

SETTINGS = (
    "test_time_rl=true",
    "base_temperature=1.0",
    "policy.kind=openvla",
    "policy.openvla.decoding=parallel",
    "env.image_size=32",
    "env.n_samples=4",
    "eval.episodes_per_task=1",
    "ppo.learning_rate=1e-2",
    "ppo.warmup_steps=0",
)


def _config(checkpoint: Path, output: Path, *overrides: str) -> TrainConfig:
    settings = (
        *SETTINGS,
        f"policy.path={checkpoint}",
        f"output_dir={output}",
        "env.max_steps=24",
        *overrides,
    )
    return load_config(TrainConfig, settings)


def _train(config: TrainConfig) -> Path:
    return train(config, Display(Console(quiet=True)), ReachEngine)


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load(checkpoint / "policy", decoding=None).state_dict()


@pytest.mark.parametrize(
    "overrides",
    [
        ("policy.openvla.lora_rank=4", "ppo.kl_coef=0.1", "rollout.rows_at_once=3"),
        (
            "policy.openvla.lora_rank=0",
            "ppo.kl_coef=0.1",
            "ppo.advantage=gae",
            "policy.openvla.gradient_checkpointing=true",
        ),
    ],
    ids=["adapters", "all weights"],
)
def test_a_stopped_run_resumes_to_the_same_weights_and_is_evaluated(checkpoint, tmp_path, overrides) -> None:
    whole = _train(_config(checkpoint, tmp_path / "whole", *overrides, "iterations=2"))
    part = _config(checkpoint, tmp_path / "part", *overrides, "iterations=2", "checkpoint_every=1")
    first = _train(replace(part, iterations=1))
    resumed = _train(replace(part, resume="auto"))
    expected, weights, earlier = _weights(whole), _weights(resumed), _weights(first)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    assert any(not torch.equal(weights[name], earlier[name]) for name in weights)
    agents = [torch.load(path / checkpoints.AGENT_FILE, weights_only=True) for path in (whole, resumed)]
    assert agents[0]["schedule"] == agents[1]["schedule"]
    for record in read_records(part.output_dir, METRICS_FILE):
        assert record["update/logprob_difference"] < 1e-5
        assert record["update/ratio_max_first"] == 1.0
        assert record["update/chunks"] > 0
    report = evaluate_checkpoints(
        load_config(
            EvaluateConfig,
            [
                f"checkpoint={tmp_path / 'part'}",
                "num_envs=2",
                "env.image_size=32",
                "eval.episodes_per_task=2",
            ],
        ),
        Display(Console(quiet=True)),
        ReachEngine,
    )
    assert report["evaluations"][0]["num_episodes"] == 2


def test_a_checkpoint_with_adapters_holds_them_alone(checkpoint, tmp_path) -> None:
    run = _config(checkpoint, tmp_path, "policy.openvla.lora_rank=4", "iterations=1")
    saved = _train(run)
    sizes = [
        sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for folder in (saved / "policy", checkpoint)
    ]
    assert sizes[0] < sizes[1]
    wider = replace(run.policy, openvla=replace(run.policy.openvla, lora_rank=8))
    with pytest.raises(CheckpointError, match=r"policy\.openvla\.lora_rank: the run of .* has 4, got 8"):
        _train(replace(run, resume="auto", iterations=2, policy=wider))


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("policy.kind=tiny_vla", CheckpointError, r"policy\.kind: expected a tiny_vla checkpoint"),
        ("env.image_size=64", ConfigError, r"env\.image_size: .* 32 x 32 pixels"),
        (
            "policy.openvla.lora_alpha=0",
            ConfigError,
            r"policy\.openvla\.lora_alpha: expected a number above 0",
        ),
        ("policy.openvla.decoding=serial", ConfigError, r"policy\.openvla\.decoding: no such name 'serial'"),
        ("policy.openvla.unnorm_key=bridge_orig", CheckpointError, "libero_spatial_no_noops"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_simulation(
    checkpoint, tmp_path, override, error, message
) -> None:
    def engine(config):
        raise AssertionError("a simulation was built")

    with pytest.raises(error, match=message):
        train(_config(checkpoint, tmp_path, override), Display(Console(quiet=True)), engine)


def test_a_new_policy_has_no_options_of_openvla(tmp_path) -> None:
    for override in (
        "policy.openvla.lora_rank=8",
        "policy.openvla.autocast=true",
        "policy.openvla.decoding=parallel",
    ):
        with pytest.raises(
            ConfigError, match=rf"{override.partition('=')[0]}: a new TinyVLA has no such option"
        ):
            load_config(TrainConfig, [override])
    with pytest.raises(ConfigError, match=r"policy\.path: policy\.kind=openvla needs a checkpoint"):
        load_config(TrainConfig, ["policy.kind=openvla"])


@pytest.mark.libero
@pytest.mark.thorough  # the same commands: test_command_line_runs.py; on LIBERO: test_libero_training.py
def test_the_command_line_trains_resumes_and_evaluates_on_libero(
    checkpoint, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [
        "train",
        *SETTINGS,
        f"policy.path={checkpoint}",
        "policy.openvla.lora_rank=4",
        "env.n_samples=2",
        "env.task_ids=[0]",  # else all tasks of the suite in its statistics
        "env.max_steps=12",  # a chunk and a half
        "ppo.advantage=gae",
        "resume=auto",
        "output_dir=run",
    ]
    assert main([*command, "iterations=1"]) == 0
    assert main([*command, "iterations=2"]) == 0
    assert "Resuming after iteration 1" in capsys.readouterr().out
    records = read_records("run", METRICS_FILE)
    assert [record["rollout/finish_steps"] for record in records] == [[12, 12], [12, 12]]
    assert [record["update/chunks"] for record in records] == [4, 4]
    assert (
        main(
            ["eval", "checkpoint=run", "num_envs=1", "eval.episodes_per_task=1", "output=report", "videos=0"]
        )
        == 0
    )
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["evaluations"][0]["num_episodes"] == 1


def test_steps_that_bfloat16_would_swallow_are_refused(checkpoint, tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"policy\.openvla\.dtype: .* small steps are lost in torch\.bfloat16"
    ):
        _train(_config(checkpoint, tmp_path, "policy.openvla.dtype=bfloat16"))
    adapters = ("policy.openvla.dtype=bfloat16", "policy.openvla.lora_rank=4", "iterations=1")
    assert _train(_config(checkpoint, tmp_path, *adapters)).name == "iteration_000001"
