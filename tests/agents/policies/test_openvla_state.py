"""OpenVLA-OFT that sees the robot's state: where its projector may be, how it is saved and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.policies.openvla_inputs import (
    INSTRUCTIONS,
    arm_observations,
    load,
    two_arm_observations,
)
from tests.agents.policies.tiny_openvla import (
    ROBOTWIN_STATISTICS,
    edit_json,
    projector_tensors,
    write_state_checkpoint,
)
from ttrl_env.agents.policies import PolicyOptions
from ttrl_env.agents.policies.loading import read_cameras
from ttrl_env.agents.policies.openvla.senses import axis_angle
from ttrl_env.errors import CheckpointError

FILE = "proprio_projector--150000_checkpoint.pt"


@pytest.fixture
def two_arms(tmp_path: Path) -> Path:
    return write_state_checkpoint(tmp_path / "two_arms", "RoboTwin")


def _logprobs(policy: Any, rows: int = 2) -> torch.Tensor:
    inputs = policy.prepare(two_arm_observations(rows), INSTRUCTIONS[:rows])
    tokens = torch.arange(rows * 350).view(rows, 350) % 256
    with torch.no_grad():
        logprobs: torch.Tensor = policy.evaluate(inputs, tokens, torch.ones(rows)).logprobs
    return logprobs


def test_a_checkpoint_for_two_arms_acts_in_chunks_of_25_joint_targets(two_arms) -> None:
    policy = load(two_arms, num_images=1)
    assert (policy.chunk_steps, policy.action_dim) == (25, 14)
    assert policy.cameras == ("head_camera",)
    actions = policy.decode(torch.full((1, 350), 255))
    low, high = np.array(ROBOTWIN_STATISTICS["min"]), np.array(ROBOTWIN_STATISTICS["max"])
    # the lowest bin's centre is -1 + 1/255; joints and grippers alike are un-normalised by the extremes
    assert actions[0, 24] == pytest.approx(low + (high - low) / 510)
    assert torch.equal(policy.encode(actions), torch.full((1, 350), 255))


@pytest.mark.parametrize(
    ("place", "prefix"), [("weights", ""), (FILE, "module."), ("proprio_projector.pt", "")]
)
def test_the_projector_is_the_same_wherever_it_is(two_arms, tmp_path, place, prefix) -> None:
    other = write_state_checkpoint(tmp_path / "other", "RoboTwin", place=place, prefix=prefix)
    expected = _logprobs(load(two_arms, num_images=1))
    assert torch.equal(_logprobs(load(other, num_images=1)), expected)


def test_a_saved_checkpoint_remembers_what_it_sees(two_arms, tmp_path) -> None:
    policy = load(two_arms, num_images=3)
    policy.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / FILE).exists()
    loaded = load(tmp_path / "saved", None)
    assert loaded.cameras == ("head_camera", "left_camera", "right_camera")
    assert torch.equal(_logprobs(loaded), _logprobs(policy))
    assert read_cameras(tmp_path / "saved") == loaded.cameras
    with pytest.raises(CheckpointError, match=r"policy\.openvla\.num_images: .* was trained with 3, got 1"):
        load(tmp_path / "saved", None, num_images=1)


def test_adapters_take_the_projector_along(two_arms, tmp_path) -> None:
    policy = load(two_arms, num_images=1, lora_rank=2)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    assert any("proprio_projector" in name for name, each in policy.named_parameters() if each.requires_grad)
    policy.save_pretrained(tmp_path / "adapter")
    (two_arms / FILE).unlink()  # the adapter has a copy
    loaded = load(tmp_path / "adapter", None)
    assert torch.equal(_logprobs(loaded), _logprobs(policy))
    loaded.save_pretrained(tmp_path / "merged", merge=True)  # type: ignore[call-arg]
    merged = load(tmp_path / "merged", None)
    assert torch.allclose(_logprobs(merged), _logprobs(policy), atol=1e-4)


def test_an_adapter_of_openvla_oft_leaves_its_runs_projector_alone(two_arms, tmp_path) -> None:
    """Its modules are listed by their last names, which the projector's layers share."""
    adapter = tmp_path / "run" / "lora_adapter"
    write_state_checkpoint(tmp_path / "bare", "RoboTwin", place="")
    plain = load(tmp_path / "bare", num_images=1, lora_rank=2)
    plain.save_pretrained(adapter)
    (adapter / "ttrl_policy.json").unlink()
    edit_json(adapter / "adapter_config.json", target_modules=_last_names(adapter))
    torch.save(projector_tensors(14), adapter.parent / FILE)
    loaded = load(adapter, num_images=1)
    assert torch.equal(_logprobs(loaded), _logprobs(load(two_arms, num_images=1)))
    assert not any(
        "proprio_projector" in name for name, each in loaded.named_parameters() if each.requires_grad
    )


def _last_names(adapter: Path) -> list[str]:
    modules = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    return sorted(modules)


def test_gradients_reach_the_projector(two_arms) -> None:
    policy = load(two_arms, num_images=1)
    inputs = policy.prepare(two_arm_observations(1), INSTRUCTIONS[:1])
    policy.evaluate(inputs, torch.zeros(1, 350, dtype=torch.int64), torch.ones(1)).logprobs.sum().backward()
    assert policy.model.proprio_projector is not None
    assert all(each.grad is not None for each in policy.model.proprio_projector.parameters())


def _damaged(folder: Path) -> None:
    (folder / FILE).write_bytes(b"PK")


def _of_code(folder: Path) -> None:
    torch.save({"fc1.weight": Path()}, folder / FILE)


def _integers(folder: Path) -> None:
    torch.save({"fc1.weight": torch.zeros(32, 14, dtype=torch.int64)}, folder / FILE)


def _of_one_arm(folder: Path) -> None:
    torch.save(projector_tensors(8), folder / FILE)


def _foreign_key(folder: Path) -> None:
    torch.save({**projector_tensors(14), "fc3.weight": torch.zeros(1)}, folder / FILE)


def _twice(folder: Path) -> None:
    torch.save(projector_tensors(14), folder / "proprio_projector--5000_checkpoint.pt")


def _among_weights_too(folder: Path) -> None:
    write_state_checkpoint(folder, "RoboTwin", place="weights")


def _no_statistics(folder: Path) -> None:
    edit_json(folder / "dataset_statistics.json", stack_blocks_two={"action": ROBOTWIN_STATISTICS})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damaged, rf"{FILE} cannot be read"),
        (_of_code, rf"{FILE} cannot be read: it is damaged or not ours: it names pathlib"),
        (_integers, rf"{FILE}: expected tensors of floating-point numbers, got others as fc1\.weight"),
        (_of_one_arm, r"no projector of this checkpoint's state:\n  fc1\.weight: expected \[32, 14\], got"),
        (_foreign_key, r"no projector of this checkpoint's state:\n  unexpected fc3\.weight \[1\]"),
        (_twice, r"has proprio_projector--150000_checkpoint\.pt, proprio_projector--5000_checkpoint\.pt"),
        (_among_weights_too, r"a proprio_projector among its weights and in proprio_projector--150000"),
        (_no_statistics, r"stack_blocks_two\.proprio: expected min, max and mask"),
    ],
)
def test_a_projector_that_cannot_be_its_own_is_named(two_arms, damage, message) -> None:
    damage(two_arms)
    with pytest.raises(CheckpointError, match=message):
        load(two_arms, num_images=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"policy\.openvla\.num_images: .* Set it to 1 or 3: the first of head_camera, left_camera"),
        ({"num_images": 2}, r"policy\.openvla\.num_images: expected 1 or 3 of RoboTwin's cameras .* got 2"),
        ({"num_images": 1, "use_proprio": False}, r"use_proprio: expected true, as .* got false"),
        ({"num_images": 1, "decoding": "autoregressive"}, r"policy\.openvla\.decoding: expected parallel"),
    ],
)
def test_options_that_contradict_the_files_are_refused(two_arms, options, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(two_arms, **options)


def test_a_state_without_a_projector_is_refused(checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"use_proprio: expected false, as .* no proprio_projector"):
        load(checkpoint, use_proprio=True)


def test_cameras_are_known_without_the_weights(tmp_path) -> None:
    folder = write_state_checkpoint(tmp_path, "LIBERO")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    options = PolicyOptions(decoding="parallel", num_images=2)
    assert read_cameras(folder, options) == ("agentview", "robot0_eye_in_hand")


def test_what_is_not_observed_is_named(two_arms) -> None:
    policy = load(two_arms, num_images=1)
    seen = two_arm_observations(1)
    with pytest.raises(ValueError, match=r"expected a state of 14 numbers in joint_state, got 7"):
        policy.prepare({**seen, "joint_state": np.zeros((1, 7))}, [""])
    with pytest.raises(ValueError, match=r"proprioception needs \['joint_state'\]"):
        policy.prepare({"head_camera_image": seen["head_camera_image"]}, [""])
    with pytest.raises(ValueError, match=r"rendered at 30 x 40 pixels; .* got 30 x 30"):
        policy.prepare(two_arm_observations(1, width=30), [""])


def test_rotations_are_those_of_robosuite() -> None:
    half = np.sqrt(0.5)
    turns = np.array(
        [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, -1.0], [half, 0.0, 0.0, half], [0.0, 1.0, 0.0, 0.0]]
    )
    expected = [[0.0] * 3, [0.0] * 3, [np.pi / 2, 0.0, 0.0], [0.0, np.pi, 0.0]]
    assert axis_angle(turns) == pytest.approx(np.array(expected))


def test_the_state_of_one_arm_changes_the_answer(tmp_path) -> None:
    policy = load(write_state_checkpoint(tmp_path, "LIBERO"), num_images=2)
    seen, tokens = arm_observations(1), torch.zeros(1, 56, dtype=torch.int64)
    inputs, moved = (
        policy.prepare({**seen, "robot0_eef_pos": np.array([[x, 0.0, 1.0]])}, [""]) for x in (-0.4, 0.4)
    )
    assert inputs["proprio"].shape == (1, 8)
    with torch.no_grad():
        before, after = (policy.evaluate(each, tokens, torch.ones(1)).logprobs for each in (inputs, moved))
    assert not torch.allclose(before, after)
