"""Bounds stand beside each field and are checked before anything is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ttrl_env.agents.commands.record import RecordConfig
from ttrl_env.agents.config.bounds import check_fields
from ttrl_env.agents.config.loading import load_config, load_settings
from ttrl_env.agents.config.schema import EvaluateConfig, PPOConfig, TrainConfig
from ttrl_env.agents.config.schema_fields import type_of, unwrap, walk_fields
from ttrl_env.agents.demo.config import DemoConfig
from ttrl_env.agents.pretraining.config import PretrainConfig, load_pretrain_config
from ttrl_env.agents.training.train import train
from ttrl_env.errors import ConfigError

SCHEMAS = (TrainConfig, EvaluateConfig, PretrainConfig, RecordConfig, DemoConfig)


def with_value(config, key: str, value):
    """A configuration with another value of a dotted key, unchecked."""
    group, _, rest = key.partition(".")
    return replace(config, **{group: with_value(getattr(config, group), rest, value) if rest else value})


def numbers_and_names(schema) -> list[str]:
    """Keys of a schema that hold anything but truth values."""
    return [key for key, _ in walk_fields(schema) if unwrap(type_of(schema, key)).plain is not bool]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_number_and_name_has_bounds_beside_its_field(schema) -> None:
    checked_together = {"env.task_ids", "checkpoint", "data"}
    types = {key: unwrap(type_of(schema, key)) for key in numbers_and_names(schema)}
    bare = {key for key, type_ in types.items() if not type_.bounds and not type_.choices}
    assert bare <= checked_together


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_number_is_taken_that_a_library_below_cannot_hold(schema) -> None:
    for key in numbers_and_names(schema):
        wanted = unwrap(type_of(schema, key)).plain
        for value in {int: (-(2**70), 2**70), float: (float("nan"), float("inf"), 1e300)}.get(wanted, ()):
            with pytest.raises(ConfigError, match=f"^{key}: expected"):
                check_fields(with_value(schema(), key, value))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_values_of_another_type_are_named_where_no_command_line_converts_them(schema) -> None:
    for key, _ in walk_fields(schema):
        with pytest.raises(ConfigError, match=f"^{key}: expected"):
            check_fields(with_value(schema(), key, object()))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_defaults_are_inside_their_bounds(schema) -> None:
    check_fields(schema())
    assert dataclasses.is_dataclass(schema)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.hidden_size=0", "expected a multiple of 16"),
        ("policy.hidden_size=-1", "expected a multiple of 16"),
        ("policy.hidden_size=7", "expected a multiple of 16"),
        ("policy.image_size=0", "expected a multiple of 16"),
        ("policy.device=meta", "expected auto, cpu, cuda or cuda:1, got 'meta'"),
        ("policy.openvla.dtype=float16", "Did you mean 'bfloat16'"),
        ("policy.chunk_steps=1000000000", "expected an integer of at most 1000"),
        ("seed=9223372036854775808", "expected an integer of at most 9223372036854775807"),
        ("base_temperature=1e300", "expected a number of at most 1e"),
        ("ppo.memory_gigabytes=inf", "expected a number of at most 1e"),
        ("output_dir=/dev/null", "expected a folder, but /dev/null is none"),
        ("output_dir=/dev/null/run", "expected a folder, but /dev/null is none"),
        (f"output_dir={'x' * 300}", "cannot be a folder: File name too long"),
        ("output_dir=", "expected text that is not empty"),
        ("env.num_groups=1000000", r"8,000,000 simulations needs about [\d.,e+]+ GB of memory"),
        ("env.image_size=20000", "expected an integer of at most 4096"),
        ("iterations=2000000000", r"would take at least [\d.]+ years"),
        ("eval.repeats=1000000000", "expected an integer of at most 10000"),
        ("rollout.max_draws=100000000", "expected an integer of at most 1000"),
        ("rollout.ladder_shift=0.2", "got 0.2 without both; set them, or leave it at 0"),
        ("rollout.states=mixed", "no such name 'mixed'. Known: in_turn, mixed_outcomes"),
        ("rollout.mixed_outcomes.floor=0", "expected a number above 0"),
        ("rollout.mixed_outcomes.prior_episodes=0", "expected a number of at least 0.1"),
        ("seed=0,1", "expected one value, got several; run the command once for each"),
        ("iterations=range(1,3)", "expected one value, got several"),
        ("seed=~3", "cannot be read; expected an integer"),
        ("output_dir=${seed}/é", "put the value in quotes"),
    ],
)
def test_what_would_die_inside_a_library_is_named_first(override, message) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_config(TrainConfig, [override])
    assert override.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.hidden_size=7", "expected a multiple of 16"),
        ("policy.num_layers=1000000", "expected an integer of at most 256"),
        ("policy.image_size=0", "expected a multiple of 16"),
        ("weight_decay=nan", "expected 0"),
        ("batch_size=100000000", r"100,000,000 chunks needs about [\d.,e+]+ GB of memory"),
        ("steps=1000000000000", "expected an integer of at most"),
        ("seed=123456789012345678901", "expected an integer of at most"),
        ("device=meta", "expected auto, cpu, cuda or cuda:1, got 'meta'"),
        ("output_dir=/dev/null", "expected a folder, but /dev/null is none"),
        ("data=demos", r"expected a list, e\.g\. 'data=\[demos\]'"),
    ],
)
def test_what_pretraining_cannot_do_is_named_first(override, message, tmp_path) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_pretrain_config([f"data=[{tmp_path}]", override])
    assert override.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    "name", ["~/x", "é/ü", "a=b", "a b", "it's", "a,b", "{a}", "1e3", "007", "true", "a;b(c)&#", "x-${seed}"]
)
def test_a_folder_is_given_as_it_is_called(name, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-mine")
    expected = name.replace("~", "/home/of-mine").replace("${seed}", "0")
    assert load_config(TrainConfig, [f"output_dir={name}"]).output_dir == expected
    assert load_config(EvaluateConfig, [f"output={name}", "checkpoint=x"]).output == expected


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_users_folder_is_expanded_however_a_configuration_is_made(schema, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-mine")
    key = "output" if schema is EvaluateConfig else "output_dir"
    made = [schema(**{key: "~/x"}), replace(schema(), **{key: "~/x"}), load_settings(schema, [f"{key}=~/x"])]
    assert {getattr(config, key) for config in made} == {"/home/of-mine/x"}


def test_the_users_folder_is_expanded_in_the_name_of_a_file(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-mine")
    made = [RecordConfig(report="~/x.json"), load_settings(RecordConfig, ["report=~/x.json"])]
    assert {config.report for config in made} == {"/home/of-mine/x.json"}


def test_lists_of_folders_are_given_as_they_are_called(tmp_path) -> None:
    names = [str(tmp_path / name) for name in ("é=1", "~b", "c d", "it's")]
    for name in names:
        (tmp_path / name).mkdir()
    assert list(load_pretrain_config([f"data=[{','.join(names)}]"]).data) == names


def test_a_folder_that_cannot_be_written_ends_a_run_before_a_policy_is_loaded(tmp_path) -> None:
    config = load_config(TrainConfig, ["policy.path=nowhere", "output_dir=/proc/runs"])
    with pytest.raises(
        ConfigError, match=r"output_dir: expected a folder that can be written to: .*/proc/runs"
    ):
        train(config)


def test_configurations_of_python_are_held_to_the_same_bounds() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.learning_rate: expected a number above 0, got -1"):
        train(TrainConfig(ppo=PPOConfig(learning_rate=-1.0)))
    with pytest.raises(ConfigError, match="seed: expected an integer, got '7'"):
        train(TrainConfig(seed="7"))  # type: ignore[arg-type]


def test_a_group_that_is_given_as_a_dictionary_is_named() -> None:
    given: Any = {"lam": 0.9}
    with pytest.raises(ConfigError, match=r"ppo\.gae: expected a GAEConfig, got \{'lam': 0\.9\}"):
        PPOConfig(gae=given)
    with pytest.raises(ConfigError, match=r"env: expected a TrainEnvConfig, got \{'lam'"):
        train(TrainConfig(env=given))


def test_configurations_are_loaded_inside_another_application_of_hydra(tmp_path, monkeypatch) -> None:
    (tmp_path / "conf.yaml").write_text("mine: 3\n")
    monkeypatch.setattr("sys.argv", ["mine", f"hydra.run.dir={tmp_path}"])
    loaded = []

    @hydra.main(config_path=str(tmp_path), config_name="conf", version_base="1.3")
    def application(config) -> None:
        name = HydraConfig.get().job.name
        loaded.append((config.mine, load_config(TrainConfig, ["seed=5"]).seed))
        assert HydraConfig.get().job.name == name

    application()
    assert loaded == [(3, 5)]


def test_hydra_is_left_as_it_was(tmp_path) -> None:
    (tmp_path / "conf.yaml").write_text("mine: 3\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert load_config(TrainConfig, ["seed=5"]).seed == 5
        assert OmegaConf.to_container(hydra.compose("conf")) == {"mine": 3}
    assert not GlobalHydra.instance().is_initialized()
