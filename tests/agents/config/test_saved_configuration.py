"""A run that goes on, and a checkpoint that is evaluated, take the configuration saved with it, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ttrl_env.agents.commands.policy_tasks import settings_of_run
from ttrl_env.agents.config.composing import to_config
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.resuming import changes_on_resuming
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.slow

RUN = (
    "test_time_rl=true",
    "base_temperature=1.6",
    "temperature_range=0.4",
    "env.n_samples=3",
    "iterations=7",
)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A folder with a run's checkpoint, as far as its configuration goes; its ``state.json``."""
    monkeypatch.chdir(tmp_path)
    config = load_config(TrainConfig, [*RUN, "output_dir=runs/mine"])
    return _save("runs/mine", asdict(config))


def _save(output_dir: str, config: object) -> Path:
    folder = Path(output_dir) / "checkpoints" / "iteration_000002"
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "config.json").write_text('{"model_type": "tiny_vla"}')
    state = {"iteration": 2, "groups_dealt": 2, "reference": None, "config": config, "versions": {}}
    file = folder / "state.json"
    file.write_text(json.dumps(state))
    return file


def _edit(file: Path, group: str, **values: object) -> None:
    state = json.loads(file.read_text())
    (state["config"][group] if group else state["config"]).update(values)
    file.write_text(json.dumps(state))


FORMER_GROUPS = {
    "ppo": {
        "advantage": "gae",
        "gamma": 0.99,
        "gae_lambda": 0.5,
        "value_hidden_size": 32,
        "value_backpropagates": True,
    },
    "policy": {
        "kind": "openvla",
        "path": "runs/sft",
        "decoding": "parallel",
        "dtype": "float32",
        "lora_rank": 4,
    },
}
"""How release 0.1 saved these groups, in part."""


def test_a_checkpoint_of_release_0_1_goes_on_and_is_evaluated(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = _save("runs/mine", {"output_dir": "runs/mine", "iterations": 7, **FORMER_GROUPS})
    config = load_config(TrainConfig, ["resume=runs/mine", "iterations=9"])
    gae, openvla = config.ppo.gae, config.policy.openvla
    assert (gae.gamma, gae.lam, gae.value_hidden_size, gae.value_backpropagates) == (0.99, 0.5, 32, True)
    assert (openvla.decoding, openvla.dtype, openvla.lora_rank) == ("parallel", "float32", 4)
    assert changes_on_resuming(file.parent, config) == ["iterations: 9 from here on, 7 so far"]
    other = load_config(TrainConfig, ["resume=runs/mine", "policy.lora_rank=8"])
    with pytest.raises(CheckpointError, match=r"policy\.openvla\.lora_rank: the run of .* has 4, got 8"):
        changes_on_resuming(file.parent, other)
    evaluated = load_config(EvaluateConfig, ["checkpoint=runs/mine"], settings_of_run("runs/mine"))
    assert evaluated.policy.openvla.decoding == "parallel"


@pytest.mark.parametrize("resume", ["runs/mine", "runs/mine/checkpoints/iteration_000002", "auto"])
def test_a_resumed_run_has_its_own_settings_without_repeating_them(run, resume) -> None:
    given = ["output_dir=runs/mine"] if resume == "auto" else []
    config = load_config(TrainConfig, [f"resume={resume}", *given])
    assert (config.test_time_rl, config.base_temperature, config.temperature_range) == (True, 1.6, 0.4)
    assert (config.env.n_samples, config.iterations, config.resume) == (3, 7, resume)
    assert config.output_dir == "runs/mine"
    assert changes_on_resuming(run.parent, config) == []


def test_what_the_command_line_changes_is_listed_key_by_key(run) -> None:
    config = load_config(
        TrainConfig, ["resume=runs/mine", "ppo.learning_rate=0.001", "iterations=9", *RUN[:2]]
    )
    assert changes_on_resuming(run.parent, config) == [
        "iterations: 9 from here on, 7 so far",
        "ppo.learning_rate: 0.001 from here on, 0.0001 so far",
    ]


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "env.suite=libero_goal",
        "env.task_ids=[1]",
        "policy.hidden_size=64",
        "policy.path=tiny-vla-libero-object",
        "ppo.advantage=gae",
        "preset=simplevla-rl",
    ],
)
def test_what_a_run_cannot_change_is_refused_by_name(run, override) -> None:
    config = load_config(TrainConfig, ["resume=runs/mine", override])
    with pytest.raises(CheckpointError, match=f"{override.partition('=')[0]}: the run of .* has "):
        changes_on_resuming(run.parent, config)


def test_auto_without_a_checkpoint_begins_with_the_settings_given(tmp_path) -> None:
    config = load_config(TrainConfig, ["resume=auto", f"output_dir={tmp_path / 'new'}", "iterations=3"])
    assert config.iterations == 3


def test_a_run_that_was_moved_goes_on_where_it_is(run) -> None:
    Path("runs/mine").rename("moved")
    assert load_config(TrainConfig, ["resume=moved"]).output_dir == "moved"


HOSTILE = ["${oc.env:HOME}", "${seed}", "\\${seed}", "a b, 'c' \"d\" = {e} [f] ~ é", "null", "0,1", "$(id)"]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_checkpoint_is_taken_as_it_stands(run, text) -> None:
    _edit(run, "policy", openvla={"unnorm_key": text}, path=text)
    _edit(run, "", wandb_project=text)
    values = settings_of_run("runs/mine")
    assert load_config(EvaluateConfig, ["checkpoint=runs/mine"], values).policy.openvla.unnorm_key == text
    resumed = load_config(TrainConfig, ["resume=runs/mine"])
    assert (resumed.policy.openvla.unnorm_key, resumed.policy.path, resumed.wandb_project) == (text,) * 3
    assert to_config(TrainConfig, asdict(resumed)) == resumed


def test_a_secret_in_the_environment_does_not_reach_what_eval_prints(run, capsys, monkeypatch) -> None:
    from ttrl_env.agents.cli import main

    monkeypatch.setenv("SECRET_ACCESS_KEY", "do-not-tell")
    _edit(run, "policy", openvla={"unnorm_key": "${oc.env:SECRET_ACCESS_KEY}"})
    assert main(["eval", "checkpoint=runs/mine", "--cfg"]) == 0
    printed = capsys.readouterr().out
    assert "n_samples" not in printed
    assert "do-not-tell" not in printed


def test_the_users_own_interpolations_see_the_checkpoints_values(run) -> None:
    _edit(run, "env", suite="libero_goal")
    values = settings_of_run("runs/mine")
    config = load_config(EvaluateConfig, ["output=reports/${env.suite}"], values)
    assert config.output == "reports/libero_goal"


@pytest.mark.parametrize(
    "config", [{"env": {"n_samplez": 3}}, {"seed": "three"}, {"env": 3}, [1], None, "${oc.env:HOME}"]
)
def test_a_saved_configuration_that_is_none_names_the_file(tmp_path, config) -> None:
    _save(f"{tmp_path}/run", config)
    with pytest.raises(
        CheckpointError, match=r"state\.json: (its configuration cannot be used|config: expected)"
    ):
        load_config(TrainConfig, [f"resume={tmp_path}/run"])


def test_a_value_of_a_checkpoint_that_is_out_of_bounds_is_refused(run) -> None:
    _edit(run, "env", image_size=10**9)
    with pytest.raises(ConfigError, match=r"env\.image_size: expected an integer of at most"):
        load_config(EvaluateConfig, ["checkpoint=runs/mine"], settings_of_run("runs/mine"))


def test_the_values_that_python_gives_are_compared_as_well(run) -> None:
    config = replace(load_config(TrainConfig, [*RUN, "output_dir=runs/mine"]), resume="auto", seed=5)
    with pytest.raises(CheckpointError, match=r"seed: the run of .* has 0, got 5"):
        changes_on_resuming(run.parent, config)
