from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict

import pytest

from ttrl_env.agents.config.loading import load_config, preset_names, to_config, walk_fields
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.errors import ConfigError, UnknownNameError


def test_nothing_changes_for_those_who_do_not_opt_in() -> None:
    config = load_config(TrainConfig)
    assert config.test_time_rl is False


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_keys_of_simplevla_rl_work_verbatim(plus: str) -> None:
    config = load_config(
        TrainConfig,
        [
            f"{plus}test_time_rl=True",
            f"{plus}test_time_rl_reward=env_sparse",
            f"{plus}base_temperature=1.6",
            f"{plus}temperature_range=0.0",
            f"{plus}data.n_samples=4",
            f"{plus}actor_rollout_ref.model.max_steps=512",
        ],
    )
    assert (config.test_time_rl, config.test_time_rl_reward) == (True, "env_sparse")
    assert (config.base_temperature, config.temperature_range) == (1.6, 0.0)
    assert (config.env.n_samples, config.env.max_steps) == (4, 512)


def test_the_command_line_wins_over_the_preset() -> None:
    assert load_config(TrainConfig, ["preset=tiny-cpu"]).env.num_groups == 1
    assert load_config(TrainConfig, ["env.num_groups=3", "preset=tiny-cpu"]).env.num_groups == 3


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads_and_names_itself(preset: str, ample_memory) -> None:
    assert load_config(TrainConfig, [f"preset={preset}", "policy.path=checkpoint"]).preset == preset


def test_configurations_are_frozen_and_survive_a_round_trip() -> None:
    config = load_config(TrainConfig, ["env.task_ids=[3,1]"])
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    assert to_config(TrainConfig, asdict(config)) == config


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("env.n_sample=3", "env.n_samples"),
        ("+data.n_sample=3", "data.n_samples"),
        ("test_time_r=true", "test_time_rl"),
        ("n_samples=4", "env.n_samples"),
        ("preset=tiny-cpuu", "tiny-cpu"),
        ("env.suite=libero_spatal", "libero_spatial"),
        ("test_time_rl_reward=eficiency", "efficiency"),
        ("eval.init_states=heldout", "held_out"),
        ("ppo.advantage=grop", "grpo"),
        ("ppo.loss_reduction=token_mean", "token-mean"),
        ("ppo.loss_reduction=seq-mean-token-sum-norm", "token-sum-norm"),
        ("ppo.ratio_level=chunks", "chunk"),
        ("env.engine=upstraem", "upstream"),
    ],
)
def test_a_misspelt_name_is_told_its_nearest(override: str, nearest: str) -> None:
    with pytest.raises((UnknownNameError, ConfigError), match=f"Did you mean '{nearest}'"):
        load_config(TrainConfig, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.n_samples=many", r"env\.n_samples=many.*Integer"),
        ("env.n_samples", "expected key=value"),
        ("env.n_samples=1", r"ppo\.advantage=grpo compares .* at least 2 of them, got 1"),
        ("env.num_groups=0", r"env\.num_groups"),
        ("env.max_steps=0", r"env\.max_steps: expected an integer of at least 1, got 0"),
        ("env.task_ids=[1,1]", r"env\.task_ids: expected each task once"),
        ("env.num_workers=-1", r"env\.num_workers: expected an integer of at least 0"),
        ("env.fixture_seed=-1", r"env\.fixture_seed: expected an integer of at least 0"),
        ("seed=-1", "seed: expected an integer of at least 0"),
        ("eval.temperature=nan", r"eval\.temperature: expected 0"),
        ("env.task_ids=[]", r"env\.task_ids: expected at least one"),
        ("env.task_ids=[10]", "libero_spatial has tasks 0 to 9, got 10"),
        (
            "env.image_size=100",
            r"policy\.image_size: expected a multiple of 16 .* env\.image_size=100",
        ),
        ("base_temperature=0", "every temperature must be above 0"),
        ("iterations=0", "iterations: expected an integer of at least 1, got 0"),
        ("ppo.learning_rate=-1", r"ppo\.learning_rate: expected a number above 0"),
        ("eval.temperature=-0.5", r"eval\.temperature: expected 0"),
        (
            "ppo.minibatch_trajectories=3",
            r"a divisor of the rollout's 8 trajectories .* the nearest are 2 and 4",
        ),
        ("ppo.minibatch_trajectories=9", r"ppo\.minibatch_trajectories: .* got 9; the nearest are 8"),
        ("ppo.clip_ratio_c=1.1", r"ppo\.clip_ratio_c: expected a number above 1\.28, got 1\.1"),
        ("ppo.gae.lam=1.5", r"ppo\.gae\.lam: expected a number from 0 to 1, got 1\.5"),
        ("ppo.kl_coef=-1", r"ppo\.kl_coef: expected 0 \(off\) or more"),
        ("ppo.target_kl=0", r"ppo\.target_kl: expected a number above 0"),
        ("ppo.target_kl=0.02", r"ppo\.target_kl: with ppo\.epochs=1 .* single step.*, got 0\.02"),
        ("ppo.memory_gigabytes=0", r"ppo\.memory_gigabytes: expected a number above 0"),
        ("ppo.max_skipped_steps=0", r"ppo\.max_skipped_steps: expected an integer of at least 1"),
        ("rollout.accuracy_lower_bound=0.95", r"0 <= lower <= upper <= 1, got 0\.95 and 0\.9"),
        ("rollout.max_draws=0", r"rollout\.max_draws: expected an integer of at least 1"),
    ],
)
def test_a_value_that_cannot_work_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, [override])


def test_a_value_head_learns_from_single_trajectories_but_a_success_rate_cannot_be_filtered() -> None:
    for advantage in ("gae", "critic"):
        assert load_config(TrainConfig, ["env.n_samples=1", f"ppo.advantage={advantage}"]).env.n_samples == 1
    with pytest.raises(ConfigError, match=r"rollout\.filter_accuracy: the success rate of a group of one"):
        load_config(TrainConfig, ["env.n_samples=1", "ppo.advantage=gae", "rollout.filter_accuracy=true"])


def test_a_horizon_need_not_be_a_multiple_of_the_chunk() -> None:
    assert load_config(TrainConfig, ["env.max_steps=20", "policy.chunk_steps=8"]).env.max_steps == 20


def test_configurations_are_read_without_waiting_for_pytorch() -> None:
    code = "import sys, ttrl_env.agents.config.loading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_falling_ladder_must_stay_positive() -> None:
    overrides = ["test_time_rl=true", "base_temperature=0.5", "temperature_range=-0.5"]
    with pytest.raises(ConfigError, match=r"got a ladder from 0\.5 to 0"):
        load_config(TrainConfig, overrides)
    assert load_config(TrainConfig, overrides[1:]).base_temperature == 0.5  # no ladder without test_time_rl


def test_evaluation_has_no_training_keys() -> None:
    keys = {key for key, _ in walk_fields(EvaluateConfig)}
    assert "env.task_ids" in keys
    assert "env.n_samples" not in keys
    with pytest.raises(UnknownNameError):
        load_config(EvaluateConfig, ["ppo.epochs=2"])


@pytest.mark.parametrize("value", ["[]", "[0,-1]", "[0.6,0.6]", "[inf]"])
def test_temperatures_of_a_report_are_different_and_not_negative(value: str) -> None:
    with pytest.raises(ConfigError, match=r"eval\.temperatures: expected different numbers"):
        load_config(EvaluateConfig, [f"eval.temperatures={value}"])


def test_libero_long_is_saved_under_liberos_own_name() -> None:
    assert load_config(TrainConfig, ["env.suite=libero_long"]).env.suite == "libero_10"
