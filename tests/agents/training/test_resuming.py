"""A run that was stopped, killed or out of disk goes on as if nothing had happened, on the reaching task."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.agents.reach import ReachEngine, load_tiny_policy, make_tiny_policy
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.training_state import TrainingState, read_state
from ttrl_env.agents.config.loading import load_config, to_config
from ttrl_env.agents.config.schema import PPOConfig, TrainConfig
from ttrl_env.agents.training import checkpoints
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.engines.interface import ChunkResult
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.errors import CheckpointError, ConfigError, TrainingDivergedError
from ttrl_env.machine.folder_lock import folder_lock

pytestmark = pytest.mark.slow  # whole runs

SETTINGS = (
    "test_time_rl=true",
    "iterations=4",
    "checkpoint_every=2",
    "env.n_samples=4",
    "env.num_groups=2",
    "env.max_steps=20",  # two chunks of 8 and half of one
    "env.image_size=16",
    "policy.image_size=16",
    "policy.hidden_size=32",
    "ppo.learning_rate=1e-3",
    "ppo.epochs=2",
    "ppo.minibatch_trajectories=4",
    "eval.episodes_per_task=1",
)


def _config(output: Path, *overrides: str) -> TrainConfig:
    return load_config(TrainConfig, [*SETTINGS, f"output_dir={output}", *overrides])


def _train(config: TrainConfig, engine: EngineChoice = ReachEngine) -> Path:
    return train(config, Display(Console(quiet=True)), engine)


def _assert_same(first: Path, second: Path) -> None:
    """Weights, everything of the agent, and how many groups were dealt."""
    weights = [load_tiny_policy(path / "policy").state_dict() for path in (first, second)]
    agents = [torch.load(path / checkpoints.AGENT_FILE, weights_only=True) for path in (first, second)]
    states = [read_state(path) for path in (first, second)]
    for one, other in (weights, agents):
        assert _leaves(one) == _leaves(other)
    assert states[0].groups_dealt == states[1].groups_dealt
    assert states[0].outcomes == states[1].outcomes
    assert states[0].reference == states[1].reference


def _leaves(value: object) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.tolist()]
    if isinstance(value, dict):
        return [leaf for key in value for leaf in (key, *_leaves(value[key]))]
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


@pytest.mark.parametrize(
    "overrides",
    [
        ("ppo.advantage=gae", "ppo.gae.bootstrap_truncated=true"),
        ("ppo.advantage=critic", "ppo.critic.replay_rollouts=2"),
        ("ppo.kl_coef=0.1",),
        ("rollout.redraw=true", "rollout.filter_accuracy=true", "rollout.max_draws=3"),
        ("ppo.memory_gigabytes=0.002", "rollout.rows_at_once=3"),
        (
            "rollout.states=mixed_outcomes",
            "rollout.ladder_shift=0.3",
            "rollout.redraw=true",
            "rollout.max_draws=3",
        ),
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, overrides) -> None:
    whole = _train(_config(tmp_path / "whole", *overrides))
    part = _config(tmp_path / "part", *overrides)
    _train(replace(part, iterations=2))
    resumed = _train(replace(part, resume="auto"))
    _assert_same(whole, resumed)
    start, trained = (load_tiny_policy(path / "policy").state_dict() for path in (_first(tmp_path), resumed))
    assert not torch.equal(start["head.bias"], trained["head.bias"])


def _first(tmp_path: Path) -> Path:
    return tmp_path / "whole" / "checkpoints" / "iteration_000002"


def test_redrawing_plays_further_states_and_reports_them(tmp_path) -> None:
    """Rows succeed in some groups only, so that a draw rarely fills the batch."""
    config = _config(tmp_path, "rollout.redraw=true", "rollout.filter_accuracy=true", "rollout.max_draws=3")
    last = _train(config)
    records = read_records(tmp_path, METRICS_FILE)
    played = [record["rollout/groups_played"] for record in records]
    assert played == [2 * record["rollout/draws"] for record in records]
    assert any(count > 2 for count in played)
    assert read_state(last).groups_dealt == sum(played)
    states = [state for record in records for state in record["rollout/init_state_ids"][::4]]
    assert len(states) == sum(played)
    assert len(set(states[:40])) == len(states[:40])  # no state is played again before all others were
    for record in records:
        assert record["rollout/groups_kept"] <= 2
        assert (record["update/steps"] > 0) == (record["rollout/groups_kept"] > 0)


def test_a_checkpoint_without_outcomes_goes_on_in_turn_or_starts_to_note_them(tmp_path) -> None:
    """As checkpoints of release 0.1 are, and those of runs that deal their states in turn."""
    config = _config(tmp_path, "iterations=1", "env.max_steps=32")
    file = _train(config) / "state.json"
    state = json.loads(file.read_text())
    assert state.pop("outcomes") is None
    file.write_text(json.dumps(state))
    in_turn = _train(replace(config, resume="auto", iterations=2))
    assert read_state(in_turn).outcomes is None
    rollout = replace(config.rollout, states="mixed_outcomes")
    mixed = _train(replace(config, resume="auto", iterations=3, rollout=rollout))
    record = read_records(tmp_path, METRICS_FILE)[-1]
    played = {*zip(record["rollout/task_ids"], record["rollout/init_state_ids"], strict=True)}
    outcomes = read_state(mixed).outcomes
    assert outcomes is not None
    assert {tuple(each[:2]) for each in outcomes["states"]} == played
    assert record["states/played"] == len(played) / 40
    assert 0 < record["states/success_rate"] < 1
    file = mixed / "state.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "outcomes": {"tasks": [], "states": [[0, 41, 0, 1]]}})
    )
    with pytest.raises(CheckpointError, match=r"state\.json: outcomes: states: expected ids .*41"):
        _train(replace(config, resume="auto", iterations=4, rollout=rollout))


def test_the_reference_is_the_policy_the_run_started_from(tmp_path) -> None:
    make_tiny_policy().save_pretrained(tmp_path / "start")
    config = _config(
        tmp_path / "run", f"policy.path={tmp_path / 'start'}", "ppo.kl_coef=0.1", "env.max_steps=32"
    )
    checkpoint = _train(config)
    fingerprint = read_state(checkpoint).reference
    records = read_records(config.output_dir, METRICS_FILE)
    distances = [record["update/reference_kl_first"] for record in records if record["update/steps"]]
    assert distances[0] == 0.0
    assert distances[-1] > 0.0
    make_tiny_policy(seed=1).save_pretrained(tmp_path / "start")
    with pytest.raises(CheckpointError, match=r"policy\.path: not the policy that the run"):
        _train(replace(config, resume="auto", iterations=5))
    make_tiny_policy().save_pretrained(tmp_path / "start")
    resumed = _train(replace(config, resume="auto", iterations=5))
    assert read_state(resumed).reference == fingerprint


def test_a_checkpoint_of_another_algorithm_is_refused(tmp_path) -> None:
    config = _config(tmp_path, "iterations=1")
    _train(config)
    with pytest.raises(CheckpointError, match="value head"):
        _train(replace(config, resume="auto", iterations=2, ppo=replace(config.ppo, advantage="gae")))


def test_going_on_from_an_earlier_checkpoint_replaces_the_later_ones(tmp_path) -> None:
    config = _config(tmp_path, "checkpoint_every=1", "iterations=3", "env.max_steps=32")
    left = _weights_of(_train(config))
    earlier = list_checkpoints(tmp_path)[0]
    assert earlier.name == "iteration_000002"
    changed = replace(config, resume=str(earlier), iterations=4, ppo=replace(config.ppo, learning_rate=1e-2))
    _train(changed)
    names = [path.name for path in list_checkpoints(tmp_path)]
    assert names == ["iteration_000003", "iteration_000004"]
    assert _weights_of(list_checkpoints(tmp_path)[0]) != left
    assert not list((tmp_path / "checkpoints").glob(".draft*"))


def test_the_first_save_after_going_back_keeps_what_it_wrote(tmp_path) -> None:
    """Numbered below what is left behind, the new checkpoint is not taken for the oldest."""
    config = _config(tmp_path, "checkpoint_every=1", "iterations=4", "keep_checkpoints=3")
    _train(config)
    earlier = list_checkpoints(tmp_path)[0]
    assert _train(replace(config, resume=str(earlier), iterations=3, keep_checkpoints=1)).is_dir()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iteration_000003"]


def test_killed_after_going_back_a_run_does_not_mix_two_courses(tmp_path, monkeypatch) -> None:
    config = _config(tmp_path, "checkpoint_every=1", "iterations=3")
    _train(config)
    earlier = list_checkpoints(tmp_path)[0]

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ttrl_env.agents.training.loop.collect_rollout", killed)
    with pytest.raises(KeyboardInterrupt):
        _train(replace(config, resume=str(earlier), keep_checkpoints=3))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["iteration_000002"]
    assert [record["iteration"] for record in read_records(tmp_path, METRICS_FILE)] == [1, 2]


def test_a_checkpoint_goes_before_the_records_that_tell_of_it(tmp_path, monkeypatch) -> None:
    """Killed between the two, a run goes on from a checkpoint whose records are all there."""
    config = _config(tmp_path, "checkpoint_every=1", "iterations=2", "keep_checkpoints=3")
    _train(config)
    seen = []

    def cut(file, _):
        seen.append([path.name for path in list_checkpoints(tmp_path)])
        raise OSError(5, "killed", str(file))

    monkeypatch.setattr("ttrl_env.agents.training.metrics.write_whole", cut)
    with pytest.raises(OSError, match="killed"):
        _train(replace(config, resume=str(list_checkpoints(tmp_path)[0])))
    assert seen == [["iteration_000001"]]


def test_a_line_that_is_no_record_is_told_of_before_checkpoints_go(tmp_path) -> None:
    config = _config(tmp_path, "checkpoint_every=1", "iterations=2", "keep_checkpoints=3")
    _train(config)
    file = tmp_path / METRICS_FILE
    file.write_text("garbage\n" + file.read_text())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 1: expected a JSON object"):
        _train(replace(config, resume=str(list_checkpoints(tmp_path)[0])))
    assert len(list_checkpoints(tmp_path)) == 2


def test_one_folder_holds_one_run(tmp_path) -> None:
    """A checkpoint of another run does not go on beside this one's, nor two processes in one folder."""
    mine, other = _config(tmp_path / "mine", "iterations=1"), _config(tmp_path / "other", "iterations=1")
    _train(mine)
    last = _train(other)
    with pytest.raises(CheckpointError, match=r"mine already holds .*, which .*other.* does not belong"):
        _train(replace(mine, resume=str(last), iterations=2))
    with (
        folder_lock(mine.output_dir, "output_dir"),
        pytest.raises(ConfigError, match="output_dir: another process is writing to"),
    ):
        _train(replace(mine, resume="auto", iterations=2))
    assert _train(replace(mine, resume="auto", iterations=2)).name == "iteration_000002"


def test_records_that_left_no_checkpoint_are_not_taken_for_those_of_another_run(tmp_path) -> None:
    last = _train(_config(tmp_path / "other", "iterations=2"))
    mine = _config(tmp_path / "mine", "iterations=3")
    Path(mine.output_dir).mkdir()
    (tmp_path / "mine" / METRICS_FILE).write_text('{"iteration": 1}\n{"iteration": 2}\n')
    _train(replace(mine, resume=str(last)))
    assert [record["iteration"] for record in read_records(mine.output_dir, METRICS_FILE)] == [3]


def test_a_checkpoint_of_any_name_is_gone_on_from(tmp_path) -> None:
    last = _train(_config(tmp_path, "iterations=1"))
    best = last.rename(last.with_name("best"))
    assert _train(_config(tmp_path, "iterations=2", f"resume={best}")).name == "iteration_000002"


def test_old_checkpoints_that_cannot_be_removed_do_not_end_a_run(tmp_path, monkeypatch) -> None:
    """A link goes and what it leads to stays; where nothing can be moved the run says so and goes on."""
    policy = make_tiny_policy()
    agent = PPOAgent(policy, PPOConfig())
    state = TrainingState(iteration=1, groups_dealt=1, reference=None, config={}, versions={})
    first = checkpoints.save_checkpoint(tmp_path / "run", policy, agent, state, keep=1)
    first.rename(tmp_path / "moved")
    first.symlink_to(tmp_path / "moved")
    (first.parent / ".draft_1").symlink_to(tmp_path / "moved")
    second = checkpoints.save_checkpoint(tmp_path / "run", policy, agent, replace(state, iteration=2), keep=1)
    assert list(second.parent.iterdir()) == [second]
    assert (tmp_path / "moved" / "state.json").is_file()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoints, "_set_aside", refuse)
    with pytest.warns(UserWarning, match=r"iteration_000002 is not needed any more and cannot be removed"):
        third = checkpoints.save_checkpoint(
            tmp_path / "run", policy, agent, replace(state, iteration=3), keep=1
        )
    assert list_checkpoints(tmp_path / "run") == [second, third]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """Two checkpoints; not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    _train(_config(folder, "iterations=2", "checkpoint_every=1"))
    return folder


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "altered", "another"])
@pytest.mark.parametrize("name", ["agent.pt", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_offered(
    tmp_path, whole_run, name, damage
) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    config = _config(tmp_path / "run", "iterations=3", "resume=auto")
    before, last = list_checkpoints(config.output_dir)
    content = (last / name).read_bytes()
    (last / name).unlink()
    if damage != "missing":
        damaged = {"empty": b"", "truncated": content[:-40], "altered": b"x" + content[1:], "another": b"[]"}
        (last / name).write_bytes(damaged[damage])
    with pytest.raises(CheckpointError) as error:
        _train(config)
    assert f"{last / name}" in str(error.value)
    assert str(error.value).endswith(f"go on from the one before it: resume={before}")
    assert _train(replace(config, resume=str(before))).name == "iteration_000003"


class _Hostile:
    """What a pickle may do."""

    def __reduce__(self):
        return pytest.fail, ("code of a checkpoint was run",)


def test_a_pickle_in_place_of_the_agents_file_is_named_and_not_run(tmp_path, whole_run) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    before, last = list_checkpoints(tmp_path / "run")
    torch.save({"optimizer": _Hostile()}, last / "agent.pt")
    with pytest.raises(CheckpointError) as error:
        _train(_config(tmp_path / "run", "iterations=3", "resume=auto"))
    expected = f"{last / 'agent.pt'} cannot be read: it is damaged or not ours: it names _pytest.outcomes."
    assert str(error.value).startswith(expected)
    assert str(error.value).endswith(f"go on from the one before it: resume={before}")
    assert "weights_only" not in str(error.value)


def test_a_run_does_not_go_on_from_a_policy_that_is_a_link_to_elsewhere(tmp_path, whole_run) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    _, last = list_checkpoints(tmp_path / "run")
    shutil.move(last / "policy", tmp_path / "elsewhere")
    (last / "policy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=rf"checkpoint: {last / 'policy'} leads out of its folder"):
        _train(_config(tmp_path / "run", "iterations=3", f"resume={last}"))


@pytest.mark.parametrize("part", ["policy", "agent.pt"])
def test_a_checkpoint_of_numbers_that_are_none_is_refused_and_the_one_before_it_offered(
    tmp_path, whole_run, part
) -> None:
    shutil.copytree(whole_run, tmp_path / "run")
    before, last = list_checkpoints(tmp_path / "run")
    if part == "policy":
        policy = load_tiny_policy(last / "policy")
        torch.nn.init.constant_(policy.head.bias, float("nan"))
        policy.save_pretrained(last / "policy")
    else:
        agent = torch.load(last / "agent.pt", weights_only=True)
        agent["optimizer"]["state"][0]["exp_avg"].fill_(float("inf"))
        torch.save(agent, last / "agent.pt")
    with pytest.raises(CheckpointError) as error:
        _train(_config(tmp_path / "run", "iterations=3", "resume=auto"))
    assert f"{last}" in str(error.value)
    assert "NaN or infinite" in str(error.value)
    assert str(error.value).endswith(f"go on from the one before it: resume={before}")


def test_a_run_that_diverges_where_it_went_on_is_told_of_the_checkpoint_before(
    tmp_path, whole_run, monkeypatch
) -> None:
    from ttrl_env.agents.training import loop

    def diverge(*_arguments, **_settings):
        raise TrainingDivergedError("the policy's logits are NaN or infinite")

    shutil.copytree(whole_run, tmp_path / "run")
    before, last = list_checkpoints(tmp_path / "run")
    monkeypatch.setattr(loop, "collect_rollout", diverge)
    with pytest.raises(TrainingDivergedError) as error:
        _train(_config(tmp_path / "run", "iterations=3", "resume=auto"))
    assert f"went on from {last} and came no further" in str(error.value)
    assert str(error.value).endswith(f"The last good checkpoint is {before}: continue with resume={before}")


@pytest.mark.parametrize(
    ("key", "value"),
    [("iteration", "2"), ("iteration", -1), ("groups_dealt", None), ("config", []), ("outcomes", [])],
)
def test_a_state_of_other_kinds_is_named(tmp_path, whole_run, key, value) -> None:
    shutil.copytree(whole_run / "checkpoints" / "iteration_000002", tmp_path / "one")
    file = tmp_path / "one" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(CheckpointError, match=rf"state\.json: {key}: expected .*, got"):
        read_state(tmp_path / "one")


class Hanging(ReachEngine):
    """A terminal is closed in the third iteration: every process that stands in between says so."""

    steps = 0

    def step(self, *arguments: Any) -> ChunkResult:
        Hanging.steps += 1
        if Hanging.steps == 8:
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
        return super().step(*arguments)


def test_a_closed_terminal_leaves_a_checkpoint(tmp_path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, contextlib.redirect_stdout(gone):
        checkpoint = train(_config(tmp_path, "iterations=100"), Display(), Hanging)
    assert 0 < read_state(checkpoint).iteration < 4


def _weights_of(checkpoint: Path) -> list[Any]:
    return _leaves(load_tiny_policy(checkpoint / "policy").state_dict())


def test_a_checkpoint_says_what_it_is_made_of(tmp_path) -> None:
    config = _config(tmp_path, "iterations=1", "ppo.advantage=gae")
    checkpoint = _train(config)
    state = read_state(checkpoint)
    assert to_config(TrainConfig, state.config) == config
    assert {"ttrl-env", "torch", "transformers", "mujoco", "numpy"} <= state.versions.keys()
    assert (state.iteration, state.groups_dealt) == (1, 2)
    agent = torch.load(checkpoint / checkpoints.AGENT_FILE, weights_only=True)
    assert agent.keys() == {"optimizer", "schedule", "skipped_in_a_row", "value_head"}


def test_divergence_keeps_the_last_good_checkpoint_and_names_it(tmp_path, monkeypatch) -> None:
    from ttrl_env.agents.update import losses, ppo

    original = losses.clipped_policy_loss
    calls = []

    def loss_that_breaks(*arguments, **settings):
        loss, diagnostics = original(*arguments, **settings)
        calls.append(1)
        return (loss * float("nan"), diagnostics) if len(calls) > 8 else (loss, diagnostics)

    monkeypatch.setattr(ppo, "clipped_policy_loss", loss_that_breaks)
    config = _config(tmp_path, "iterations=100", "ppo.max_skipped_steps=3", "env.max_steps=32")
    with pytest.raises(TrainingDivergedError) as error:
        _train(config)
    last = list_checkpoints(tmp_path)[-1]
    assert f"The last good checkpoint is {last}: continue with resume={last}" in str(error.value)
    assert "3 optimiser steps in a row" in str(error.value)
    monkeypatch.undo()
    assert all(torch.isfinite(each).all() for each in load_tiny_policy(last / "policy").parameters())
    completed = read_state(last).iteration
    _train(replace(config, resume=str(last), iterations=completed + 1))


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path) -> None:
    """An optimiser step may be finite and what it leaves behind not."""
    policy = make_tiny_policy()
    agent = PPOAgent(policy, PPOConfig())
    state = TrainingState(iteration=1, groups_dealt=1, reference=None, config={}, versions={})
    good = checkpoints.save_checkpoint(tmp_path, policy, agent, state, keep=1)
    torch.nn.init.constant_(policy.head.bias, float("inf"))
    with pytest.raises(TrainingDivergedError, match="weights are NaN or infinite and are not saved"):
        checkpoints.save_checkpoint(tmp_path, policy, agent, replace(state, iteration=2), keep=1)
    assert list_checkpoints(tmp_path) == [good]


def test_a_process_killed_while_saving_leaves_the_last_good_checkpoint(tmp_path) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal, sys, torch
        from rich.console import Console
        from tests.agents.training import test_resuming as here

        torch.set_num_threads(1)
        original = torch.save

        def die_in_the_middle(state, path):
            if here.list_checkpoints({str(tmp_path)!r}):
                path.write_bytes(b"half of it")
                os.kill(os.getpid(), signal.SIGKILL)
            original(state, path)

        torch.save = die_in_the_middle
        here._train(here._config({str(tmp_path)!r}))
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir())[0].startswith(".draft_")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["iteration_000002"]
    resumed = _train(replace(_config(tmp_path), resume="auto"))
    _assert_same(resumed, _train(_config(tmp_path / "whole")))
    assert not list(folder.glob(".draft_*"))  # what the killed process left has been cleared away


def test_a_disk_that_takes_no_more_leaves_the_last_good_checkpoint(tmp_path) -> None:
    config = _config(tmp_path)
    _train(replace(config, iterations=2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # every write beyond it fails
        with pytest.raises(CheckpointError, match=r"iteration_000002 is whole: continue with resume="):
            _train(replace(config, resume="auto"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["iteration_000002"]
    resumed = _train(replace(config, resume="auto"))
    _assert_same(resumed, _train(_config(tmp_path / "whole")))
