"""``ttrl doctor CHECKPOINT``: a sound policy passes; one broken in each way fails, by name and exit code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import LlamaModel

from tests.agents.policies.openvla_inputs import load
from tests.agents.policies.tiny_openvla import (
    LIBERO_STATISTICS,
    edit_json,
    projector_tensors,
    read_tensors,
    write_checkpoint,
    write_shards,
    write_state_checkpoint,
)
from tests.agents.reach import make_tiny_policy
from tests.agents.two_arms import make_two_armed_policy
from tests.ttrl_env.robotwin.stand_ins import WHOLE, interpreter
from ttrl_env import libero_version
from ttrl_env.agents.checkup import openvla as openvla_checkup
from ttrl_env.agents.checkup import policy as policy_checkup
from ttrl_env.agents.checkup.subject import CheckFailed, Subject
from ttrl_env.agents.cli import main
from ttrl_env.agents.commands import doctor
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.policies.openvla.decoding import Parallel
from ttrl_env.published_scenes import SceneSummary, published_scene

pytestmark = pytest.mark.slow

CHECKS = (
    "checkpoint",
    "image size",
    "image",
    "instruction",
    "log-probabilities",
    "precision",
    "horizon",
    "memory",
    "attention",
    "action statistics",
    "gripper",
    "tokens",
    "senses",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "policy, first")  # Hydra's grammar would split it


def _doctor(folder: Path, capsys, *overrides: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what was said by each check."""
    code = main(["doctor", str(folder), *overrides])
    lines = capsys.readouterr().out.splitlines()
    said = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    return code, {
        name.split("  ", 1)[1]: f"{name.split()[0]} {text}" for name, text in said.items() if "  " in name
    }


def _failure(folder: Path, capsys, check: str, *overrides: str) -> str:
    """The message of the one check that failed."""
    code, said = _doctor(folder, capsys, *(overrides or ("policy.openvla.decoding=parallel",)))
    failed = [name for name, text in said.items() if text.startswith("FAILED")]
    assert (code, failed) == (1, [check]), said
    return said[check]


ADAPTERS = ("policy.openvla.lora_rank=2", "policy.openvla.dtype=bfloat16")
AUTOCAST = ("policy.openvla.autocast=true",)


@pytest.mark.parametrize(
    ("decoding", "extra"),
    [
        ("parallel", ADAPTERS),
        ("autoregressive", AUTOCAST),
        pytest.param("parallel", (), marks=pytest.mark.thorough),
        pytest.param("parallel", AUTOCAST, marks=pytest.mark.thorough),
        pytest.param("autoregressive", (), marks=pytest.mark.thorough),
        pytest.param("autoregressive", ADAPTERS, marks=pytest.mark.thorough),
    ],
)
def test_a_sound_checkpoint_passes_every_check(folder, capsys, decoding, extra) -> None:
    code, said = _doctor(folder, capsys, f"policy.openvla.decoding={decoding}", *extra)
    assert code == 0, said
    assert all(said[check].startswith("ok ") for check in CHECKS)


def test_a_sound_tiny_vla_passes_the_checks_that_concern_it(tmp_path, capsys) -> None:
    make_tiny_policy().save_pretrained(tmp_path)
    code, said = _doctor(tmp_path, capsys)
    assert code == 0, said
    assert set(CHECKS[:8]) <= said.keys()
    assert "attention" not in said


def test_a_policy_for_robotwin_is_checked_with_robotwins_images(tmp_path, capsys) -> None:
    make_two_armed_policy().save_pretrained(tmp_path / "two")
    _, said = _doctor(tmp_path / "two", capsys, "env.suite=robotwin", "env.max_steps=300")
    assert said["image size"] == "ok head_camera, 240 x 320 pixels"
    assert {name for name, text in said.items() if not text.startswith("ok")} <= {"RoboTwin"}
    make_tiny_policy().save_pretrained(tmp_path / "one")
    code, said = _doctor(tmp_path / "one", capsys, "env.suite=robotwin", "env.max_steps=200")
    assert code == 1
    assert "expected cameras of RoboTwin" in said["image size"]


def test_a_tiny_vla_that_does_not_see_fails(tmp_path, capsys) -> None:
    policy = make_tiny_policy()
    with torch.no_grad():
        for convolution in policy.encoder.convolutions:
            convolution.get_parameter("weight").zero_()
    policy.save_pretrained(tmp_path)
    assert "does not see" in _failure(tmp_path, capsys, "image", "iterations=1")


def test_weights_that_do_not_fit_are_named(folder, capsys) -> None:
    tensors = read_tensors(folder)
    del tensors["projector.fc1.bias"]
    write_shards(folder, tensors)
    assert main(["doctor", str(folder), "policy.openvla.decoding=parallel"]) == 1
    output = capsys.readouterr().out
    assert "FAILED  checkpoint: " in output
    assert "missing projector.fc1.bias" in output
    assert "Likely cause" in output


def test_attention_that_stays_causal_is_found(folder, capsys, monkeypatch) -> None:
    stock = LlamaModel.forward

    def ignores_masks(self, *args, attention_mask=None, **kwargs):
        return stock(self, *args, attention_mask=None, **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", ignores_masks)
    assert "attention is causal although decoding is parallel" in _failure(folder, capsys, "attention")


def test_attention_that_is_not_causal_is_found(folder, capsys, monkeypatch) -> None:
    stock = LlamaModel.forward

    def sees_all(self, *args, attention_mask=None, **kwargs):
        return stock(self, *args, attention_mask=torch.zeros_like(attention_mask), **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", sees_all)
    _, said = _doctor(folder, capsys, "policy.openvla.decoding=autoregressive")
    assert said["attention"].startswith("FAILED attention is bidirectional")


def test_an_ignored_image_is_found(folder, capsys) -> None:
    tensors = read_tensors(folder)
    for key in ("projector.fc3.weight", "projector.fc3.bias"):
        tensors[key].zero_()
    write_shards(folder, tensors)
    assert "the policy does not see" in _failure(folder, capsys, "image")


def test_an_ignored_instruction_is_found(folder, capsys) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(chr(code), "a") for code in range(98, 123)]
    )
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Replace("a", "")])
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Replace(" ", "")])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert "the policy does not read" in _failure(folder, capsys, "instruction")


def test_damaged_weights_are_found(folder, capsys) -> None:
    tensors = read_tensors(folder)
    tensors["language_model.model.norm.weight"][3] = float("nan")
    write_shards(folder, tensors)
    _, said = _doctor(folder, capsys, "policy.openvla.decoding=parallel")
    assert said["log-probabilities"].startswith("FAILED the policy's logits are NaN")


def test_log_probabilities_that_differ_between_rollout_and_update_are_found(
    folder, capsys, monkeypatch
) -> None:
    """One temperature for the whole batch: the mistake of the published test-time-RL patch."""
    sound = Parallel.sample

    def one_temperature(self, prefix, temperatures, seeds, step):
        return sound(self, prefix, temperatures[:1].expand(len(temperatures)), seeds, step)

    monkeypatch.setattr(Parallel, "sample", one_temperature)
    assert "PPO's ratio would not start at 1" in _failure(folder, capsys, "log-probabilities")


def test_training_weights_that_round_small_steps_away_is_found(folder, capsys) -> None:
    message = _failure(
        folder, capsys, "precision", "policy.openvla.decoding=parallel", "policy.openvla.dtype=bfloat16"
    )
    assert "policy.openvla.lora_rank=32" in message


def test_an_absent_normalisation_key_names_what_is_there(folder, capsys) -> None:
    message = _failure(
        folder,
        capsys,
        "checkpoint",
        "policy.openvla.decoding=parallel",
        "policy.openvla.unnorm_key=libero_goal",
    )
    assert "no action statistics of 'libero_goal'" in message
    assert "It has: libero_spatial_no_noops" in message


def test_statistics_of_another_suite_are_found(folder, capsys) -> None:
    edit_json(folder / "dataset_statistics.json", libero_goal_no_noops={"action": LIBERO_STATISTICS})
    keys = (
        "policy.openvla.decoding=parallel",
        "policy.openvla.unnorm_key=libero_spatial",
        "env.suite=libero_goal",
    )
    message = _failure(folder, capsys, "action statistics", *keys)
    assert "Set policy.openvla.unnorm_key=libero_goal_no_noops" in message


def test_a_gripper_of_the_other_sign_convention_is_found(folder, capsys) -> None:
    statistics = {**LIBERO_STATISTICS, "q01": [-0.5] * 6 + [-1.0], "min": [-0.9] * 6 + [-1.0]}
    edit_json(folder / "dataset_statistics.json", libero_spatial_no_noops={"action": statistics})
    assert "run from -1 to 1; expected 0" in _failure(folder, capsys, "gripper")


def test_a_shifted_vocabulary_is_found(folder, capsys) -> None:
    edit_json(folder / "config.json", pad_to_multiple_of=63)
    assert "every action would be off by 1 bins" in _failure(folder, capsys, "tokens")


def test_a_horizon_that_cuts_chunks_is_found(folder, capsys) -> None:
    message = _failure(folder, capsys, "horizon", "policy.openvla.decoding=parallel", "env.max_steps=100")
    assert "Set env.max_steps=104" in message


def test_an_image_size_the_policy_was_not_trained_on_is_found(folder, capsys) -> None:
    message = _failure(folder, capsys, "image size", "policy.openvla.decoding=parallel", "env.image_size=128")
    assert "set env.image_size=32" in message


def test_too_little_memory_is_found(folder, capsys, monkeypatch) -> None:
    monkeypatch.setattr(policy_checkup, "_free_bytes", lambda device: 1_000_000)
    assert "Train adapters" in _failure(folder, capsys, "memory")
    monkeypatch.setattr(policy_checkup, "_free_bytes", lambda device: 10_000_000)
    message = _failure(folder, capsys, "memory")
    fits = int(message.rpartition("=")[2])
    assert 1 <= fits < 128
    code, _ = _doctor(folder, capsys, "policy.openvla.decoding=parallel", f"ppo.micro_batch_chunks={fits}")
    assert code == 0


def test_more_threads_than_cores_are_found(folder, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    assert "set OMP_NUM_THREADS=" in _failure(folder, capsys, "threads")


def test_keys_without_a_checkpoint_are_refused(capsys) -> None:
    assert main(["doctor", "policy.openvla.decoding=parallel"]) == 2
    assert "checkpoint: name the policy that policy.openvla.decoding is for" in capsys.readouterr().err


def test_a_suite_of_another_world_fails_by_name_and_says_what_to_install(capsys, monkeypatch) -> None:
    engines = []

    class Engine:
        closed = False

        def __init__(self, config) -> None:
            self.suite = config.suite
            engines.append(self)

        def close(self) -> None:
            self.closed = True

    def see(engine: Engine, task_id: int) -> SceneSummary:
        scene = published_scene(engine.suite, task_id)
        return replace(scene, coarse_images=scene.coarse_images - 36) if task_id in (3, 7) else scene

    for module in (doctor, libero_version):
        monkeypatch.setattr(module, "installed_mujoco", lambda: "3.17.0")
    monkeypatch.setattr("ttrl_env.engines.make_engine.make_engine", lambda name, config: Engine(config))
    monkeypatch.setattr("ttrl_env.published_scenes.see", see)
    assert main(["doctor", "world=[libero_object,libero_goal]"]) == 1
    said = capsys.readouterr().out
    for task_id in (3, 7):
        assert f"libero_object {task_id} renders 36 grey levels darker than published (agentview)" in said
    assert "MuJoCo 3.17.0; pip install mujoco==3.3.2" in said
    assert said.count("FAILED") == 2  # libero_goal's tasks 3 and 7 too
    assert all(engine.closed for engine in engines)
    monkeypatch.setattr(
        "ttrl_env.published_scenes.see", lambda engine, task: published_scene(engine.suite, task)
    )
    assert main(["doctor", "world=[libero_object]"]) == 0
    assert "its 10 tasks look and settle as published" in capsys.readouterr().out


def test_the_interpreter_of_robotwin_is_checked_where_one_is_named(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_CHECKS", {})
    monkeypatch.delenv("TTRL_ROBOTWIN_PYTHON", raising=False)
    assert main(["doctor"]) == 0
    assert "RoboTwin" not in capsys.readouterr().out
    says = {**WHOLE, "vulkan": {"error": "RuntimeError: none"}}
    monkeypatch.setenv("TTRL_ROBOTWIN_PYTHON", str(interpreter(tmp_path / "python", says)))
    assert main(["doctor"]) == 1
    assert "FAILED  RoboTwin: no device to draw with (RuntimeError: none)" in capsys.readouterr().out


def test_a_suite_that_does_not_exist_is_named(capsys) -> None:
    assert main(["doctor", "world=[libero_goal,libero_objects]"]) == 2
    said = "".join(capsys.readouterr())
    assert "world: no such name 'libero_objects'" in said
    assert "Did you mean 'libero_object'?" in said


def test_a_suite_is_not_compared_for_a_checkpoint(capsys) -> None:
    assert main(["doctor", "tiny-vla-libero-object", "world=[libero_goal]"]) == 2
    assert "world: takes no checkpoint and no other keys, got checkpoint=tiny" in capsys.readouterr().err


def test_two_arms_and_the_robots_state_are_examined(tmp_path) -> None:
    """A projector that is zero changes nothing: the state would be ignored without an error."""
    folder = write_state_checkpoint(tmp_path, "RoboTwin")
    overrides = ["env.suite=robotwin", "env.robotwin.image_height=30", "env.robotwin.image_width=40"]
    config = load_config(TrainConfig, [*overrides, f"policy.path={folder}"])
    subject = Subject(policy=load(folder, num_images=3), config=config, given=frozenset(), image_size=0)
    assert openvla_checkup.check_senses(subject) == (
        "images of head_camera, left_camera, right_camera, and the robot's state of 14 numbers"
    )
    assert "0 (closed) to 1 (open) in both arms" in openvla_checkup.check_gripper(subject)
    assert "the last of the tokenizer's 512" in openvla_checkup.check_tokens(subject)
    zeros = {key: torch.zeros_like(tensor) for key, tensor in projector_tensors(14).items()}
    torch.save(zeros, folder / "proprio_projector--150000_checkpoint.pt")
    blind = replace(subject, policy=load(folder, num_images=3))
    with pytest.raises(CheckFailed, match="the robot's state changes no action probability"):
        openvla_checkup.check_senses(blind)
