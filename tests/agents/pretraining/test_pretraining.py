"""Behaviour cloning from files: learning, splitting, resuming, stopping, configuration."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.agents.reach import load_tiny_policy
from ttrl_env.agents import cli
from ttrl_env.agents.pretraining.config import PretrainConfig, load_pretrain_config
from ttrl_env.agents.pretraining.data import action_chunks, load_pairs
from ttrl_env.agents.pretraining.pretrain import learning_rate, new_policy, pretrain
from ttrl_env.agents.pretraining.sources import find_sources
from ttrl_env.demonstrations.origins import describe
from ttrl_env.demonstrations.reading import read_origins
from ttrl_env.errors import CheckpointError, ConfigError, TrainingDivergedError, UnknownNameError
from ttrl_env.libero_version import PUBLISHED_MUJOCO, LiberoVersionWarning, installed_mujoco
from ttrl_env.machine.folder_lock import folder_lock

pytestmark = pytest.mark.slow  # whole runs

TINY = [
    "policy.image_size=16",
    "policy.hidden_size=16",
    "policy.num_layers=1",
    "policy.chunk_steps=2",
    "batch_size=16",
    "learning_rate=0.01",
]

_INSTALLED = installed_mujoco()

ACTIONS = {"go left": -0.5, "go right": 0.5}


@pytest.fixture
def demos(tmp_path):
    """Two instructions of four episodes each; what to do depends on the instruction alone."""
    for name, action in ACTIONS.items():
        with h5py.File(tmp_path / f"{name.replace(' ', '_')}_demo.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["problem_info"] = json.dumps({"language_instruction": name})
            data.attrs["observations"] = "before_action"
            for number in range(4):
                rng = np.random.default_rng(number)
                demo = data.create_group(f"demo_{number}")
                demo["actions"] = np.full((6, 7), action, dtype=np.float32)
                demo["obs/agentview_rgb"] = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
                demo["obs/eye_in_hand_rgb"] = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
                demo["obs/ee_states"] = rng.standard_normal((6, 6))
                demo["obs/gripper_states"] = rng.standard_normal((6, 2))
    return tmp_path


def configure(demos, name="run", *overrides: str) -> PretrainConfig:
    return load_pretrain_config([f"data=[{demos}]", f"output_dir={demos / name}", *TINY, *overrides])


def run(config: PretrainConfig, **kwargs):
    said: list[str] = []
    return pretrain(config, say=said.append, **kwargs), said


def records(config: PretrainConfig) -> list[dict[str, Any]]:
    lines = (Path(config.output_dir) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_one_policy_learns_every_instruction(demos) -> None:
    config = configure(demos, "run", "steps=120", "validate_every=40")
    state, said = run(config)
    assert state.step == 120
    assert records(config)[-1]["validation_loss"] < 0.5  # a new policy is at log 256 = 5.5
    assert "6 episodes (36 steps) of 2 instructions to train on, 2 (12) to validate" in said[0]
    policy = load_tiny_policy(demos / "run" / "policy")
    observations = {"agentview_image": np.zeros((2, 32, 32, 3), dtype=np.uint8)}
    actions = policy.decode(policy(**policy.prepare(observations, list(ACTIONS))).argmax(-1))
    assert np.allclose(actions, np.array(list(ACTIONS.values()))[:, None, None], atol=0.01)


def test_a_policy_learns_which_action_belongs_to_which_image(demos) -> None:
    for file in demos.glob("*.hdf5"):
        with h5py.File(file, "r+") as opened:
            opened["data"].attrs["problem_info"] = json.dumps({"language_instruction": "go on"})
            for demo in opened["data"].values():
                demo["obs/agentview_rgb"][...] = 255 * (demo["actions"][0, 0] > 0)
    run(configure(demos, "run", "steps=120"))
    policy = load_tiny_policy(demos / "run" / "policy")
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    images[1] = 255
    actions = policy.decode(policy(**policy.prepare({"agentview_image": images}, ["go on"] * 2)).argmax(-1))
    assert np.allclose(actions, np.array([-0.5, 0.5])[:, None, None], atol=0.01)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(demos) -> None:
    whole = configure(demos, "whole", "steps=12", "validate_every=4")
    run(whole)

    def interrupt(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    broken = configure(demos, "broken", "steps=12", "validate_every=4")
    with pytest.raises(KeyboardInterrupt):
        run(broken, progress=interrupt)
    steps: list[int] = []
    run(broken, progress=lambda done, total: steps.append(done))
    assert steps == [9, 10, 11, 12]  # on from the validation after step 8
    assert records(broken) == records(whole)
    weights = [load_tiny_policy(demos / name / "policy").state_dict() for name in ("whole", "broken")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("moment", ["append_record", "_save_policy", "_save_state"])
def test_a_run_killed_while_it_saves_neither_loses_nor_repeats_a_record(demos, monkeypatch, moment) -> None:
    from ttrl_env.agents.pretraining import pretrain as pretraining

    config = configure(demos, "run", "steps=8", "validate_every=4")
    run(configure(demos, "whole", "steps=8", "validate_every=4"))
    original, calls = getattr(pretraining, moment), []

    def killed(*arguments) -> None:
        calls.append(1)
        if len(calls) == 2:
            if moment == "append_record":
                with arguments[0].open("a") as file:
                    file.write('{"step": 8, "train')  # half a record
            raise KeyboardInterrupt
        original(*arguments)

    monkeypatch.setattr(pretraining, moment, killed)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    monkeypatch.undo()
    assert run(config)[0].step == 8
    assert records(config) == records(configure(demos, "whole"))


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_what_is_no_longer_a_number_is_not_saved(demos, monkeypatch, where) -> None:
    from ttrl_env.agents.pretraining import pretrain as pretraining

    config = configure(demos, "run", "steps=4", "validate_every=2")
    name = "token_loss" if where == "loss" else "validation_loss"
    original, calls = getattr(pretraining, name), []

    def diverging(policy, *arguments):
        calls.append(1)
        value = original(policy, *arguments)
        if where == "weights" and len(calls) == 2:
            policy.head.bias.data.fill_(float("inf"))
        return (
            value * float("nan") if where == "loss" and len(calls) == 5 else value
        )  # 2 steps, validation, 2

    monkeypatch.setattr(pretraining, name, diverging)
    with pytest.raises(TrainingDivergedError, match=r"step 4: .* lower learning_rate \(resume=false\)"):
        run(config)
    assert all(torch.isfinite(each).all() for each in load_tiny_policy(demos / "run" / "policy").parameters())
    assert [record["step"] for record in records(config)] == [2]


def test_a_finished_run_does_not_stand_for_other_demonstrations(demos) -> None:
    config = configure(demos, "run", "steps=2")
    run(config)
    with h5py.File(demos / "go_left_demo.hdf5", "r+") as file:
        file["data/demo_0/actions"][...] = 0.25
    with pytest.raises(
        CheckpointError, match=r"data: the demonstrations are not those that the run in .*run"
    ):
        run(config)
    run(configure(demos, "run", "steps=2", "resume=false"))


def test_runs_of_earlier_versions_go_on(demos) -> None:
    config = configure(demos, "run", "steps=2")
    run(config)
    file = demos / "run" / "config.json"
    settings = json.loads(file.read_text())
    del settings["demonstrations"]
    file.write_text(json.dumps(settings))
    assert run(config)[0].step == 2


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
@pytest.mark.parametrize("name", ["last.pt", "config.json"])
def test_damaged_files_of_a_run_are_named(demos, name, content) -> None:
    config = configure(demos, "run", "steps=2")
    run(config)
    file = demos / "run" / name
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read.*; resume=false begins anew"):
        run(config)


@pytest.mark.parametrize("override", [(), ("resume=false",)])
@pytest.mark.parametrize("name", ["policy/model.safetensors", "metrics.jsonl", "last.pt", "config.json"])
def test_files_of_something_else_are_not_overwritten(tmp_path, name, override) -> None:
    (tmp_path / "run" / name).parent.mkdir(parents=True)
    (tmp_path / "run" / name).write_text("{}")
    config = configure(tmp_path, "run", "steps=2", *override)
    with pytest.raises(ConfigError, match=rf"output_dir: .*run holds {name.split('/')[0]} of something else"):
        run(config)
    assert (tmp_path / "run" / name).read_text() == "{}"


def test_two_processes_do_not_clone_into_one_folder(demos) -> None:
    config = configure(demos, "run", "steps=2")
    with (
        folder_lock(config.output_dir, "output_dir"),
        pytest.raises(ConfigError, match="output_dir: another process is writing to"),
    ):
        run(config)


def test_a_policy_that_was_being_replaced_is_put_back(demos) -> None:
    config = configure(demos, "run", "steps=2")
    run(config)
    (demos / "run" / "policy").rename(demos / "run" / ".policy_old")
    run(config)
    assert load_tiny_policy(demos / "run" / "policy").config.hidden_size == 16


def test_a_full_disk_is_an_error_that_names_the_file(demos) -> None:
    config = configure(demos, "run", "steps=2")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
        with pytest.raises(OSError, match=r"run/\.policy_draft"):
            run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_finished_run_is_not_trained_again(demos) -> None:
    config = configure(demos, "run", "steps=4", "validate_every=2")
    run(config)
    steps: list[int] = []
    state, _ = run(config, progress=lambda done, total: steps.append(done))
    assert (state.step, steps) == (4, [])


def test_a_run_of_another_configuration_is_not_continued(demos) -> None:
    run(configure(demos, "run", "steps=2"))
    with pytest.raises(CheckpointError, match=r"other values of batch_size; choose another folder"):
        run(configure(demos, "run", "steps=2", "batch_size=8"))
    run(configure(demos, "run", "steps=2", "batch_size=8", "resume=false"))


def test_patience_stops_a_run_and_the_best_policy_stays(demos, monkeypatch) -> None:
    from ttrl_env.agents.pretraining import pretrain as pretraining

    losses = iter([3.0, 2.0, 2.5, 2.6, 2.7])
    monkeypatch.setattr(pretraining, "validation_loss", lambda policy, pairs: next(losses))
    kept: list[int] = []
    save = pretraining._save_policy

    def counted(*arguments: Any) -> None:
        kept.append(1)
        save(*arguments)

    monkeypatch.setattr(pretraining, "_save_policy", counted)
    state, _ = run(configure(demos, "run", "steps=50", "validate_every=1", "patience=3"))
    assert state.stopped_early
    assert state.step == 5
    assert len(kept) == 2
    again, _ = run(configure(demos, "run", "steps=50", "validate_every=1", "patience=3"))
    assert again.step == 5


def test_validation_episodes_are_never_trained_on(demos) -> None:
    config = configure(demos)
    train, validation = pairs_of(config)
    assert (len(train), len(validation)) == (36, 12)
    kept_out = {fingerprint(validation, row) for row in range(12)}
    assert not kept_out & {fingerprint(train, row) for row in range(36)}
    none, empty = pairs_of(configure(demos, "run", "validation_fraction=0"))
    assert (len(none), len(empty)) == (48, 0)


def pairs_of(config: PretrainConfig):
    return load_pairs(config, find_sources(config.data), new_policy(config), lambda text: None)


def fingerprint(pairs, row: int) -> bytes:
    return b"".join(pairs.inputs[key][row].numpy().tobytes() for key in ("pixels", "word_ids"))


def test_more_senses_are_read_from_the_files(demos) -> None:
    config = configure(demos, "run", "policy.wrist_camera=true", "policy.proprioception=true", "steps=2")
    pairs, _ = pairs_of(config)
    assert set(pairs.inputs) == {"pixels", "word_ids", "wrist_pixels", "proprioception"}
    assert pairs.inputs["proprioception"].shape == (36, 9)
    run(config)
    assert load_tiny_policy(demos / "run" / "policy").cameras == ("agentview", "robot0_eye_in_hand")


def test_the_policy_records_what_it_was_cloned_from(demos) -> None:
    with h5py.File(demos / "go_left_demo.hdf5", "r+") as file:
        file["data"].attrs["bddl_file_name"] = "libero_object/go_left.bddl"
        for number in range(4):
            file[f"data/demo_{number}"].attrs["init_state_id"] = 7 - number
        file["data"].attrs["recording"] = json.dumps({"mujoco": PUBLISHED_MUJOCO})
    run(configure(demos, "run", "steps=1", "max_episodes=3"))
    cloned_from = load_tiny_policy(demos / "run" / "policy").config.demonstrations
    assert cloned_from is not None
    left, right = cloned_from
    assert left == {
        "suite": "libero_object",
        "task": "go_left",
        "num_episodes": 3,
        "init_state_ids": [5, 6, 7],
        "mujoco": PUBLISHED_MUJOCO,
    }
    unknown = {"suite": None, "task": None, "init_state_ids": None, "mujoco": None}
    assert right == {**unknown, "num_episodes": 3}


def test_demonstrations_and_policies_of_another_world_are_warned_of(demos) -> None:
    with h5py.File(demos / "go_left_demo.hdf5", "r+") as file:
        file["data"].attrs["recording"] = json.dumps({"mujoco": "99.1.0"})
    with pytest.warns(
        LiberoVersionWarning, match=rf"go_left_demo.hdf5 is of MuJoCo 99.1.0, and MuJoCo {_INSTALLED} is"
    ):
        run(configure(demos, "run", "steps=1"))
    with pytest.warns(LiberoVersionWarning, match=r"policy.path: .*run/policy is of MuJoCo 99.1.0"):
        load_tiny_policy(demos / "run" / "policy")


@pytest.mark.parametrize("recording", ["", "[]", "null", "{", '{"mujoco": 3}', '{"mujoco": "newest"}', 7])
def test_a_strange_recording_says_nothing(demos, recording) -> None:
    with h5py.File(demos / "go_left_demo.hdf5", "r+") as file:
        file["data"].attrs["recording"] = recording
    (described,) = describe(read_origins(demos / "go_left_demo.hdf5"))
    assert described["mujoco"] is None


def test_the_command_says_so_without_the_line_of_code(demos, capsys) -> None:
    with h5py.File(demos / "go_left_demo.hdf5", "r+") as file:
        file["data"].attrs["recording"] = json.dumps({"mujoco": "99.1.0"})
    assert cli.main(["pretrain", f"data=[{demos}]", f"output_dir={demos / 'run'}", *TINY, "steps=1"]) == 0
    said = capsys.readouterr().err.splitlines()
    (line,) = [each for each in said if "99.1.0" in each]
    assert line.startswith(f"ttrl pretrain: data: {demos / 'go_left_demo.hdf5'} is of MuJoCo 99.1.0")


def test_chunks_repeat_the_last_action() -> None:
    actions = np.arange(3, dtype=np.float32)[:, None].repeat(7, axis=1)
    assert action_chunks(actions, 2)[:, :, 0].tolist() == [[0, 1], [1, 2], [2, 2]]


def test_the_step_size_rises_and_falls(demos) -> None:
    config = configure(demos, "run", "steps=100", "learning_rate=1.0")
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


class TestConfiguration:
    def test_an_unknown_key_names_the_nearest(self, demos) -> None:
        with pytest.raises(UnknownNameError, match=r"no such key 'batchsize'\. Did you mean 'batch_size'"):
            load_pretrain_config([f"data=[{demos}]", "batchsize=3"])

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("steps=0", "steps: expected"),
            ("steps=many", "steps: Value 'many'"),
            ("steps=2e9", "steps=2e9: expected an integer in digits: steps=2000000000"),
            ("steps=2000000000", "steps: expected an integer of at most 100000000"),
            ("steps=1.5", "steps=1.5: expected an integer in digits$"),
            ("learning_rate=0", "learning_rate: expected a number above 0"),
            ("validation_fraction=1", "validation_fraction: expected"),
            ("keep=worst", "keep"),
            ("pairing=both", "pairing"),
            ("policy.image_size=20", "policy.image_size: expected a multiple of 16"),
            ("steps", "expected key=value"),
            ("data=[nowhere]", "no such file or folder: nowhere"),
            ("data=[]", "name HDF5 files or folders"),
        ],
    )
    def test_a_wrong_value_is_named(self, demos, override, message) -> None:
        with pytest.raises(ConfigError, match=message):
            load_pretrain_config([f"data=[{demos}]", override])

    def test_images_that_cannot_be_averaged_down_are_refused(self, demos) -> None:
        with pytest.raises(ConfigError, match=r"policy\.image_size: .*64"):
            run(configure(demos, "run", "policy.image_size=64"))

    def test_every_key_is_explained(self, capsys) -> None:
        assert cli.main(["pretrain", "--help"]) == 0
        assert "policy.proprioception" in capsys.readouterr().out

    def test_the_command_line_trains(self, demos, capsys) -> None:
        assert cli.main(["pretrain", f"data=[{demos}]", f"output_dir={demos / 'run'}", *TINY, "steps=2"]) == 0
        assert (demos / "run" / "policy" / "model.safetensors").is_file()
        assert "(2 steps)" in capsys.readouterr().out

    def test_the_command_line_reports_a_mistake(self, capsys) -> None:
        assert cli.main(["pretrain"]) == 2
        assert "ttrl pretrain: data: name HDF5 files" in capsys.readouterr().err
