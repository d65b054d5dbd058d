"""Whole training runs on the reaching task, through the real loop, files included."""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.agents.reach import ReachEngine, load_tiny_policy
from tests.ttrl_env.engines.ray_actors.local_actors import local_cluster
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, MetricsWriter, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.agents.update import losses, ppo
from ttrl_env.engines.interface import ChunkResult
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.engines.ray_actors.engine import RayEngine
from ttrl_env.errors import CheckpointError, ConfigError, EnvironmentDiedError

pytestmark = pytest.mark.slow  # whole runs


def _config(tmp_path, *overrides: str) -> TrainConfig:
    settings = (
        "test_time_rl=true",
        f"output_dir={tmp_path / 'run'}",
        "iterations=4",
        "checkpoint_every=2",
        "data.n_samples=4",
        "actor_rollout_ref.model.max_steps=24",
        "env.image_size=16",
        "policy.image_size=16",
        "policy.hidden_size=32",
        "ppo.learning_rate=1e-3",
        "eval.episodes_per_task=2",
        *overrides,
    )
    return load_config(TrainConfig, settings)


def _train(config: TrainConfig, engine: EngineChoice = ReachEngine) -> Path:
    return train(config, Display(Console(quiet=True)), engine)


def _weights(checkpoint: Path) -> torch.Tensor:
    return torch.cat(
        [tensor.flatten() for tensor in load_tiny_policy(checkpoint / "policy").state_dict().values()]
    )


def test_a_run_leaves_metrics_evaluations_and_checkpoints(tmp_path) -> None:
    config = _config(tmp_path)
    checkpoint = _train(config)
    assert checkpoint.name == "iteration_000004"
    records = read_records(config.output_dir, METRICS_FILE)
    assert [record["iteration"] for record in records] == [1, 2, 3, 4]
    for record in records:
        assert record["rollout/temperatures"] == pytest.approx([0.6, 0.7, 0.8, 0.9])
        assert record["rollout/success_rate"] == pytest.approx(sum(record["rollout/success"]) / 4)
        assert record["rollout/groups_mixed"] == int(0 < sum(record["rollout/success"]) < 4)
        assert record["update/logprob_difference"] < 1e-5
        assert record["memory_gigabytes"] > 0
        assert record["seconds/simulation"] > 0
        if record["update/steps"]:
            assert record["update/ratio_max_first"] == 1.0
    evaluations = read_records(config.output_dir, EVALUATIONS_FILE)
    assert [record["iteration"] for record in evaluations] == [0, 4]
    assert [episode["init_state_id"] for episode in evaluations[0]["episodes"]] == [40, 41]
    assert not evaluations[0]["includes_training_states"]
    (on_card,) = ModelCard.load(checkpoint / "policy" / "README.md").data.eval_results
    assert on_card.metric_value == pytest.approx(evaluations[-1]["success_rate"], abs=1e-4)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("rollout/success_rate")] == [1, 2, 3, 4]
    assert all(state < 40 for record in records for state in record["rollout/init_state_ids"])


def test_a_run_whose_ray_actor_dies_counts_it_and_learns_the_same(tmp_path, monkeypatch) -> None:
    cluster = local_cluster(monkeypatch)

    class Dying(RayEngine):
        """Loses its only actor before the second chunk."""

        steps = 0

        def step(self, *arguments: Any) -> ChunkResult:
            self.steps += 1
            if self.steps == 2:
                cluster.started[-1].is_killed = True
            return super().step(*arguments)

    settings = ("iterations=1", "eval.episodes_per_task=1", "env.num_workers=1")
    configs = [_config(tmp_path / name, *settings) for name in ("undisturbed", "dying")]
    engines: tuple[EngineChoice, ...] = (ReachEngine, lambda config: Dying(config, ReachEngine))
    weights = [_weights(_train(config, engine)) for config, engine in zip(configs, engines, strict=True)]
    assert torch.equal(*weights)
    undisturbed, died = (read_records(config.output_dir, METRICS_FILE)[0] for config in configs)
    assert "rollout/simulations_restarted" not in undisturbed
    assert died["rollout/simulations_restarted"] >= 1
    assert died["rollout/rewards"] == undisturbed["rollout/rewards"]


def test_ordinary_rl_has_one_temperature_and_binary_rewards(tmp_path) -> None:
    config = _config(tmp_path, "test_time_rl=false")
    _train(config)
    for record in read_records(config.output_dir, METRICS_FILE):
        assert record["rollout/temperatures"] == pytest.approx([0.6] * 4)
        assert set(record["rollout/rewards"]) <= {0.0, 1.0}


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path) -> None:
    whole = _train(_config(tmp_path / "whole"))
    part = _config(tmp_path / "part")
    _train(replace(part, iterations=2))
    resumed = _train(replace(part, resume="auto"))
    assert torch.equal(_weights(whole), _weights(resumed))
    optimizers = [torch.load(path / "agent.pt", weights_only=True) for path in (whole, resumed)]
    settings = [json.dumps([each["optimizer"]["param_groups"], each["schedule"]]) for each in optimizers]
    assert settings[0] == settings[1]
    timeless = [
        [{k: v for k, v in record.items() if not k.startswith(("seconds", "memory"))} for record in records]
        for records in (
            read_records(tmp_path / "whole" / "run", METRICS_FILE),
            read_records(tmp_path / "part" / "run", METRICS_FILE),
        )
    ]
    assert timeless[0] == timeless[1]


def test_metrics_after_the_resumed_checkpoint_are_dropped(tmp_path) -> None:
    config = _config(tmp_path)
    _train(replace(config, iterations=2))
    metrics = tmp_path / "run" / METRICS_FILE
    with metrics.open("a") as file:
        file.write('{"iteration": 3}\n{"iteration": 4, "half a')
    _train(replace(config, resume="auto"))
    assert [record["iteration"] for record in read_records(config.output_dir, METRICS_FILE)] == [1, 2, 3, 4]


def test_auto_resume_without_a_run_starts_one(tmp_path) -> None:
    assert _train(_config(tmp_path, "resume=auto", "iterations=1")).name == "iteration_000001"


def test_a_run_is_not_overwritten(tmp_path) -> None:
    config = _config(tmp_path, "iterations=1")
    _train(config)
    with pytest.raises(CheckpointError, match="resume=auto"):
        _train(config)


def test_a_dying_simulation_leaves_the_last_whole_iteration(tmp_path) -> None:
    class DyingEngine(ReachEngine):
        resets = 0

        def reset(self, rows, task_ids, init_state_ids) -> None:
            DyingEngine.resets += 1
            if DyingEngine.resets == 5:  # evaluation, three iterations, then this
                raise EnvironmentDiedError("killed while resetting row 0 to libero_spatial task 0")
            super().reset(rows, task_ids, init_state_ids)

    config = _config(tmp_path)
    with pytest.raises(EnvironmentDiedError, match="task 0"):
        _train(config, DyingEngine)
    assert [path.name for path in list_checkpoints(config.output_dir)][-1] == "iteration_000003"
    resumed = _train(replace(config, resume="auto"))
    assert torch.equal(_weights(resumed), _weights(_train(_config(tmp_path / "whole"))))


def test_a_simulation_that_dies_in_the_first_iteration_costs_nothing(tmp_path) -> None:
    class DyingEngine(ReachEngine):
        resets = 0

        def reset(self, rows, task_ids, init_state_ids) -> None:
            DyingEngine.resets += 1
            if DyingEngine.resets == 2:  # evaluation, then this
                raise EnvironmentDiedError("killed while resetting row 0 to libero_spatial task 0")
            super().reset(rows, task_ids, init_state_ids)

    config = _config(tmp_path)
    with pytest.raises(EnvironmentDiedError):
        _train(config, DyingEngine)
    resumed = _train(replace(config, resume="auto"))
    assert torch.equal(_weights(resumed), _weights(_train(_config(tmp_path / "whole"))))
    evaluations = read_records(config.output_dir, EVALUATIONS_FILE)
    assert [record["iteration"] for record in evaluations] == [0, 4]


def test_an_evaluation_that_was_interrupted_is_made_up_for(tmp_path) -> None:
    class DyingEngine(ReachEngine):
        resets = 0

        def reset(self, rows, task_ids, init_state_ids) -> None:
            DyingEngine.resets += 1
            if DyingEngine.resets == 6:  # evaluation, four iterations, then the last evaluation
                raise EnvironmentDiedError("killed while resetting row 0 to libero_spatial task 0")
            super().reset(rows, task_ids, init_state_ids)

    config = _config(tmp_path)
    with pytest.raises(EnvironmentDiedError):
        _train(config, DyingEngine)
    evaluated = [record["iteration"] for record in read_records(config.output_dir, EVALUATIONS_FILE)]
    assert evaluated == [0]
    _train(replace(config, resume="auto"))
    _train(replace(config, resume="auto"))  # and not twice
    evaluated = [record["iteration"] for record in read_records(config.output_dir, EVALUATIONS_FILE)]
    assert evaluated == [0, 4]


def test_only_the_last_checkpoints_are_kept(tmp_path) -> None:
    config = _config(tmp_path, "checkpoint_every=1", "keep_checkpoints=2")
    _train(config)
    names = [path.name for path in list_checkpoints(config.output_dir)]
    assert names == ["iteration_000003", "iteration_000004"]


def test_a_failing_save_leaves_the_earlier_checkpoint(tmp_path, monkeypatch) -> None:
    config = _config(tmp_path, "iterations=3", "checkpoint_every=2")
    good = torch.save

    def full_disk(state, path):
        if len(list_checkpoints(config.output_dir)) == 1:
            raise OSError(28, "No space left on device")
        good(state, path)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(
        CheckpointError, match=r"No space left.*iteration_000002 is whole: continue with resume="
    ):
        _train(config)
    assert not list((tmp_path / "run" / "checkpoints").glob(".draft*"))  # what it had written is freed
    assert [path.name for path in list_checkpoints(config.output_dir)] == ["iteration_000002"]
    monkeypatch.setattr(torch, "save", good)
    assert _train(replace(config, resume="auto")).name == "iteration_000003"


def test_training_starts_from_a_given_policy(tmp_path, tiny_policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "start")
    config = _config(tmp_path, f"policy.path={tmp_path / 'start'}", "iterations=1", "ppo.learning_rate=1e-12")
    start = torch.cat([tensor.flatten() for tensor in tiny_policy.state_dict().values()])
    assert torch.allclose(_weights(_train(config)), start, atol=1e-6)


def test_a_policy_whose_images_do_not_fit_is_refused_before_any_simulation(tmp_path, tiny_policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "start")
    overrides = (f"policy.path={tmp_path / 'start'}", "env.image_size=40", "policy.image_size=16")
    with pytest.raises(ConfigError, match=r"policy\.image_size|env\.image_size"):
        _train(_config(tmp_path, *overrides))


def test_weights_that_are_not_numbers_are_not_trained(tmp_path, tiny_policy) -> None:
    torch.nn.init.constant_(tiny_policy.head.bias, float("nan"))
    tiny_policy.save_pretrained(tmp_path / "start")
    config = _config(tmp_path, f"policy.path={tmp_path / 'start'}")
    with pytest.raises(CheckpointError, match=rf"weights of the policy in {tmp_path / 'start'} are NaN"):
        _train(config)
    assert not list_checkpoints(config.output_dir)


def test_a_device_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.device: 'cuda:7'"):
        _train(_config(tmp_path, "policy.device=cuda:7"))


def test_numbers_that_json_does_not_have_are_recorded_as_nothing(tmp_path) -> None:
    with MetricsWriter(tmp_path, completed=0, wandb_project=None, config=None) as writer:
        writer.write(1, {"update/loss_last": float("nan"), "update/steps": 0, "rollout/rewards": [0.0]})
    assert "NaN" not in (tmp_path / METRICS_FILE).read_text()
    expected = {"iteration": 1, "update/loss_last": None, "update/steps": 0, "rollout/rewards": [0.0]}
    assert read_records(tmp_path, METRICS_FILE) == [expected]


def test_skipped_steps_are_reported_to_the_user(tmp_path, monkeypatch) -> None:
    original = losses.clipped_policy_loss
    monkeypatch.setattr(
        ppo,
        "clipped_policy_loss",
        lambda *args, **kw: (original(*args, **kw)[0] * math.nan, original(*args, **kw)[1]),
    )
    output = io.StringIO()
    overrides = ("iterations=1", "data.n_samples=8", "actor_rollout_ref.model.max_steps=32")
    config = _config(tmp_path, *overrides)
    train(config, Display(Console(file=output, width=200)), ReachEngine)
    assert "1 of 1 optimiser steps skipped: their loss or gradient was not finite" in output.getvalue()
    assert read_records(config.output_dir, METRICS_FILE)[0]["update/skipped_steps"] == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_records_that_are_no_file_are_refused_before_anything_is_played(tmp_path, make) -> None:
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: expected a regular file"):
        MetricsWriter(tmp_path, completed=0, wandb_project=None, config=None)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_record_of_no_iteration_is_named(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1}\n{"iteration": null}\n')
    with pytest.raises(CheckpointError, match="line 2: expected an integer as its iteration, got None"):
        MetricsWriter(tmp_path, completed=2, wandb_project=None, config=None)
