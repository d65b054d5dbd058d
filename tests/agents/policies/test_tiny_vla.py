from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.agents.policies.tiny_openvla import edit_json
from tests.agents.reach import load_tiny_policy
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, load_policy
from ttrl_env.errors import CheckpointError, UnknownNameError


def _observations(rows: int, size: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    images = np.random.default_rng(seed).integers(0, 256, (rows, size, size, 3), dtype=np.uint8)
    return {"agentview_image": images}


def test_logits_cover_every_token_of_a_chunk(tiny_policy) -> None:
    inputs = tiny_policy.prepare(_observations(3), ["open the drawer"] * 3)
    logits = tiny_policy(**inputs)
    assert logits.shape == (3, 8 * 7, 256)
    assert logits.dtype == torch.float32


def test_image_and_instruction_both_matter(tiny_policy) -> None:
    observations = _observations(1)
    with torch.no_grad():
        logits = tiny_policy(**tiny_policy.prepare(observations, ["open the drawer"]))
        other_text = tiny_policy(**tiny_policy.prepare(observations, ["close the drawer"]))
        other_image = tiny_policy(**tiny_policy.prepare(_observations(1, seed=1), ["open the drawer"]))
    assert (logits - other_text).abs().max() > 1e-3
    assert (logits - other_image).abs().max() > 1e-3


def test_pixels_are_rotated_and_averaged_down(tiny_policy) -> None:
    image = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    image[0, 31, 30] = image[0, 31, 31] = 200  # last row is the top of the scene, last column its right
    pixels = tiny_policy.prepare({"agentview_image": image}, [""])["pixels"]
    assert pixels.shape == (1, 3, 16, 16)
    assert pixels[0, :, 0, 0].tolist() == [100, 100, 100]
    assert int(pixels.sum()) == 300


def test_rows_do_not_affect_each_other(tiny_policy) -> None:
    inputs = tiny_policy.prepare(_observations(5), ["a", "b", "c", "d", "e"])
    with torch.no_grad():
        together = tiny_policy(**inputs)
        alone = tiny_policy(**{key: tensor[2:3] for key, tensor in inputs.items()})
    assert torch.allclose(together[2:3], alone, atol=1e-5)


def test_gradients_do_not_change_the_forward_pass(tiny_policy) -> None:
    inputs = tiny_policy.prepare(_observations(4), ["open the drawer"] * 4)
    with torch.no_grad():
        without = tiny_policy(**inputs)
    assert torch.equal(without, tiny_policy(**inputs))


def test_a_saved_policy_comes_back_the_same(tiny_policy, tmp_path) -> None:
    tiny_policy.save_pretrained(tmp_path)
    loaded = load_tiny_policy(tmp_path)
    assert loaded.state_dict().keys() == tiny_policy.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), tiny_policy.parameters(), strict=True))


def test_weights_of_another_shape_are_named(tiny_policy, tmp_path) -> None:
    tiny_policy.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["head.weight"] = weights["head.weight"][:100]
    weights["surplus"] = torch.zeros(1)
    del weights["norm.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as error:
        load_policy(tmp_path)
    for name in ("head.weight", "surplus", "norm.bias", str(tmp_path)):
        assert name in str(error.value)


def test_what_is_not_a_policy_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_policy(tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no folder '.*nowhere'"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "tiny_vlm"}))
    with pytest.raises(UnknownNameError, match="tiny_vla"):
        load_policy(tmp_path)


def test_unusable_observations_are_named(tiny_policy) -> None:
    with pytest.raises(ValueError, match="agentview_image"):
        tiny_policy.prepare({"robot0_eye_in_hand_image": np.zeros((1, 32, 32, 3), np.uint8)}, [""])
    with pytest.raises(ValueError, match="multiple"):
        tiny_policy.prepare(_observations(1, size=40), [""])


def test_what_is_sampled_is_evaluated_alike_at_each_rows_temperature(tiny_policy) -> None:
    inputs = tiny_policy.prepare(_observations(3), ["open the drawer"] * 3)
    temperatures = torch.tensor([0.0, 0.6, 1.6])
    seeds = torch.arange(3 * 56).view(3, 56)
    sampled = tiny_policy.sample(inputs, temperatures, seeds, step=2)
    assert sampled.tokens.shape == sampled.valid.shape == (3, 56)
    assert torch.equal(sampled.tokens[0], tiny_policy(**inputs)[0].argmax(dim=-1))
    evaluation = tiny_policy.evaluate(inputs, sampled.tokens, temperatures)
    assert torch.allclose(evaluation.logprobs, sampled.logprobs, atol=1e-5)
    assert torch.allclose(evaluation.entropies, sampled.entropies, atol=1e-5)
    assert evaluation.features.shape == (3, tiny_policy.num_features)
    expected = torch.log_softmax(tiny_policy(**inputs)[1:] / temperatures[1:, None, None], dim=-1)
    expected = expected.gather(-1, sampled.tokens[1:, :, None])[..., 0]
    assert torch.allclose(evaluation.logprobs[1:], expected, atol=1e-5)


def test_logprobs_and_features_reach_the_weights(tiny_policy) -> None:
    inputs = tiny_policy.prepare(_observations(2), ["open the drawer"] * 2)
    tokens = torch.full((2, 56), 7)
    for name in ("logprobs", "entropies", "features"):
        tiny_policy.zero_grad()
        getattr(tiny_policy.evaluate(inputs, tokens, torch.ones(2)), name).square().sum().backward()
        assert tiny_policy.grid_position.grad.abs().sum() > 0


def test_an_image_size_that_does_not_fit_is_refused(tiny_policy) -> None:
    tiny_policy.check_image_size(48)
    with pytest.raises(ValueError, match="down to 16 pixels and needs a multiple of that, got 40"):
        tiny_policy.check_image_size(40)


class TestMoreSenses:
    """The wrist camera and the arm's own state, off by default."""

    OBSERVATIONS: ClassVar = {
        "agentview_image": np.zeros((2, 16, 16, 3), dtype=np.uint8),
        "robot0_eye_in_hand_image": np.zeros((2, 16, 16, 3), dtype=np.uint8),
        "robot0_eef_pos": np.array([[0.1, 0.0, 0.2], [0.1, 0.0, 0.2]]),
        "robot0_eef_quat": np.array([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]]),
        "robot0_gripper_qpos": np.array([[0.04, -0.04], [0.04, -0.04]]),
    }

    def policy(self) -> TinyVLA:
        config = TinyVLAConfig(
            image_size=16, hidden_size=16, num_layers=1, wrist_camera=True, proprioception=True
        )
        torch.manual_seed(0)
        return TinyVLA(config)

    def test_a_quaternion_and_its_opposite_are_one_orientation(self) -> None:
        inputs = self.policy().prepare(self.OBSERVATIONS, ["go"] * 2)
        assert torch.equal(*inputs["proprioception"])
        assert inputs["proprioception"].abs().max() <= 1.0

    @pytest.mark.parametrize("key", ["wrist_pixels", "proprioception"])
    def test_what_is_sensed_changes_the_answer(self, key) -> None:
        policy = self.policy()
        inputs = policy.prepare(self.OBSERVATIONS, ["go"] * 2)
        before = policy(**inputs)
        inputs[key] = inputs[key] + 1
        assert not torch.allclose(policy(**inputs), before)

    def test_a_sense_that_is_missing_is_named(self) -> None:
        bare = {"agentview_image": self.OBSERVATIONS["agentview_image"]}
        with pytest.raises(ValueError, match="robot0_eye_in_hand_image"):
            self.policy().prepare(bare, ["go"] * 2)

    def test_a_policy_without_them_needs_one_image_only(self) -> None:
        policy = TinyVLA(TinyVLAConfig(image_size=16, hidden_size=16, num_layers=1))
        assert policy.cameras == ("agentview",)
        assert set(policy.prepare(self.OBSERVATIONS, ["go"] * 2)) == {"pixels", "word_ids"}


class TestTwoArms:
    """RoboTwin: 14 joint targets, upright images, joints as proprioception."""

    LOW: ClassVar = [-2.0] * 6 + [0.0] + [-3.0] * 6 + [0.0]
    HIGH: ClassVar = [2.0] * 6 + [1.0] + [3.0] * 6 + [1.0]

    def policy(self, **others: Any) -> TinyVLA:
        shape = {"image_size": 16, "hidden_size": 16, "num_layers": 1, "chunk_steps": 25}
        bins = {"action_dim": 14, "action_low": self.LOW, "action_high": self.HIGH}
        return TinyVLA(TinyVLAConfig(camera="head_camera", **{**shape, **bins, **others}))

    def observations(self, height: int = 24, width: int = 32) -> dict[str, np.ndarray]:
        image = np.zeros((1, height, width, 3), dtype=np.uint8)
        image[0, 0, 0] = 255
        return {"head_camera_image": image, "joint_state": np.array([self.HIGH])}

    def test_tokens_become_joint_targets(self) -> None:
        policy = self.policy()
        assert policy.cameras == ("head_camera",)
        inputs = policy.prepare(self.observations(), ["stack the blocks"])
        sampled = policy.sample(inputs, torch.zeros(1), torch.zeros(1, 350, dtype=torch.int64))
        actions = policy.decode(sampled.tokens)
        assert actions.shape == (1, 25, 14)
        assert (actions > self.LOW).all()
        assert (actions < self.HIGH).all()
        assert torch.equal(policy.encode(policy.decode(sampled.tokens)), sampled.tokens.clamp(min=1))

    def test_images_are_upright_and_squeezed_to_a_square(self) -> None:
        pixels = self.policy().prepare(self.observations(), [""])["pixels"]
        assert pixels.shape == (1, 3, 16, 16)
        assert int(pixels[0, 0, 0, 0]) > 0
        assert int(pixels[0, 0, 4:].sum()) == int(pixels[0, 0, :, 4:].sum()) == 0
        with pytest.raises(ValueError, match="or wide ones that are larger, got 8 x 32"):
            self.policy().prepare(self.observations(height=8), [""])

    def test_joints_are_normalised_by_the_range_of_their_targets(self) -> None:
        policy = self.policy(proprioception=True)
        assert policy.prepare(self.observations(), [""])["proprioception"].tolist() == [[1.0] * 14]
        with pytest.raises(ValueError, match=r"needs 'joint_state' of shape \[rows, 14\], got \[1, 7\]"):
            policy.prepare({**self.observations(), "joint_state": np.zeros((1, 7))}, [""])

    def test_a_saved_policy_keeps_its_actions(self, tmp_path) -> None:
        policy = self.policy()
        policy.save_pretrained(tmp_path)
        loaded = load_tiny_policy(tmp_path)
        tokens = torch.arange(350)[None] % 256
        assert loaded.action_dim == 14
        assert np.array_equal(loaded.decode(tokens), policy.decode(tokens))


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("hidden_size", 7, "hidden_size: expected a multiple of 16 from 16 to 1048576 .*, got 7"),
        ("hidden_size", 0, "hidden_size: expected a multiple of 16 .*, got 0"),
        ("image_size", 50, r"image_size: expected a multiple of 16 .*\(the encoder halves .*, got 50"),
        ("chunk_steps", 0, "chunk_steps: expected an integer of at least 1, got 0"),
        ("num_heads", 3, "num_heads: expected a divisor of hidden_size=128, got 3"),
        ("num_layers", 2.0, "num_layers: expected an integer, got 2.0"),
        ("wrist_camera", "false", "wrist_camera: expected true or false, got 'false'"),
        ("action_dim", 0, "action_dim: expected an integer of at least 1, got 0"),
        ("action_low", [0.0] * 6, r"action_low: expected a number, or a list of action_dim=7 numbers, got"),
        ("action_high", float("nan"), "action_high: expected a number, or a list"),
        ("action_high", [1.0] * 6 + [-1.0], "action_high: expected more than action_low .* dimension 6"),
        ("camera", "sideview", "camera: no such name 'sideview'. Known: agentview, "),
        ("demonstrations", "many", "demonstrations: expected null or a list of objects, got 'many'"),
        ("hiden_size", 32, "TinyVLAConfig: no such name 'hiden_size'. Did you mean 'hidden_size'"),
    ],
)
def test_keywords_that_cannot_work_are_refused_by_name(keyword: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyVLAConfig(**{keyword: value})


def test_values_set_after_the_configuration_was_made_are_checked_by_the_policy() -> None:
    config = TinyVLAConfig(image_size=16, hidden_size=16, num_layers=1)
    config.hidden_size = 7
    with pytest.raises(ValueError, match="hidden_size: expected a multiple of 16"):
        TinyVLA(config)


def test_keywords_of_every_hugging_face_configuration_are_taken(tmp_path) -> None:
    keywords: dict[str, Any] = {"attn_implementation": "eager", "name_or_path": "mine", "num_labels": 2}
    config = TinyVLAConfig(hidden_size=16, dtype="float32", **keywords)
    assert (config.hidden_size, config.name_or_path) == (16, "mine")
    config.save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", of_a_later_version=1)
    loaded = TinyVLAConfig.from_pretrained(tmp_path, output_hidden_states=True, attn_implementation="eager")
    assert loaded.hidden_size == 16
    assert loaded.output_hidden_states
    assert not hasattr(loaded, "of_a_later_version")
