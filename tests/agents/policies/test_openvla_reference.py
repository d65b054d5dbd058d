"""The whole network against a second, plain implementation: one row, no padding, no cache, no libraries.

Llama as its paper and OpenVLA's code have it, on the checkpoint's tensors by name. It is the specification
that a new release of transformers is held against.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.agents.policies.openvla_inputs import (
    INSTRUCTIONS,
    arm_observations,
    load,
    observations,
    two_arm_observations,
)
from tests.agents.policies.tiny_openvla import (
    LIBERO_STATE,
    ROBOTWIN_STATISTICS,
    Size,
    projector_tensors,
    read_tensors,
    tiny_tokenizer,
    write_state_checkpoint,
)
from ttrl_env.agents.policies.openvla.pixels import crop_images, prepare_images

SIZE = Size()


def _plain_logits(
    weights: dict[str, Tensor], policy, visual: Tensor, instruction: str, tokens: Tensor
) -> Tensor:
    """Logits ``[K, 256]`` of the action tokens, of one row whose visual tokens are ``[tokens, hidden]``."""
    parallel = policy.action_space.decoding == "parallel"
    prompt = f"In: What action should the robot take to {instruction}?\nOut:"
    tokenizer = tiny_tokenizer(SIZE.vocab)
    ids = [1, *tokenizer.encode(prompt, add_special_tokens=False).ids, tokenizer.token_to_id("▁")]
    embedding = weights["language_model.model.embed_tokens.weight"]
    text = embedding[ids]
    if parallel:
        actions = torch.cat([torch.zeros(len(tokens), SIZE.hidden), embedding[2:3]])
    else:
        actions = embedding[SIZE.vocab - 256 + tokens[:-1]]
    hidden = torch.cat([text[:1], visual, text[1:], actions])
    length = len(hidden)
    visible = torch.ones(length, length).bool() if parallel else torch.ones(length, length).tril().bool()
    for layer in range(SIZE.layers):
        hidden = _plain_layer(weights, f"language_model.model.layers.{layer}.", hidden, visible)
    hidden = _rms_norm(hidden, weights["language_model.model.norm.weight"])
    end_of_prompt = len(text) + len(visual) - 1
    predicting = hidden[end_of_prompt : end_of_prompt + len(tokens)]
    return predicting @ weights["language_model.lm_head.weight"][SIZE.vocab - 256 : SIZE.vocab].T


def _plain_visual(weights: dict[str, Tensor], policy, pixels: Tensor) -> Tensor:
    """The patches ``[patches, hidden]`` of one image ``[3, S, S]`` uint8."""
    pixels = pixels[None].float() / 255
    mean, std = (
        torch.tensor([0.484375, 0.455078125, 0.40625]),
        torch.tensor([0.228515625, 0.2236328125, 0.224609375]),
    )
    dino = (pixels - mean[:, None, None]) / std[:, None, None]
    towers = policy.model.vision_backbone  # held against timm elsewhere
    features = torch.cat([towers.featurizer(dino), towers.fused_featurizer((pixels - 0.5) / 0.5)], dim=-1)[0]
    for name in ("fc1", "fc2", "fc3"):
        features = features @ weights[f"projector.{name}.weight"].T + weights[f"projector.{name}.bias"]
        if name != "fc3":
            features = 0.5 * features * (1 + torch.erf(features / math.sqrt(2)))
    return features


def _plain_state(projector: dict[str, Tensor], state: list[float], bounds: dict[str, Tensor]) -> Tensor:
    """The token ``[1, hidden]`` of a robot's state."""
    low, high = bounds["low"], bounds["high"]
    scaled = (2 * (torch.tensor(state, dtype=torch.float64) - low) / (high - low + 1e-8) - 1).clamp(-1, 1)
    hidden = scaled.float() @ projector["fc1.weight"].T + projector["fc1.bias"]
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    return (hidden @ projector["fc2.weight"].T + projector["fc2.bias"])[None]


def _arm_state(seen: dict[str, np.ndarray], row: int) -> list[float]:
    """LIBERO's eight numbers, of which three are axis times angle."""
    x, y, z, w = seen["robot0_eef_quat"][row].tolist()
    length = math.sqrt(x * x + y * y + z * z)
    angle = 2 * math.acos(w)
    turned = [part / length * angle for part in (x, y, z)]
    return [*seen["robot0_eef_pos"][row], *turned, *seen["robot0_gripper_qpos"][row]]


def _plain_layer(weights: dict[str, Tensor], prefix: str, hidden: Tensor, visible: Tensor) -> Tensor:
    normed = _rms_norm(hidden, weights[prefix + "input_layernorm.weight"])
    query, key, value = (
        (normed @ weights[f"{prefix}self_attn.{name}_proj.weight"].T).view(len(hidden), SIZE.heads, -1)
        for name in "qkv"
    )
    query, key = _rotate(query), _rotate(key)
    scores = torch.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[-1])
    attended = torch.einsum("hqk,khd->qhd", scores.masked_fill(~visible, -math.inf).softmax(-1), value)
    hidden = hidden + attended.flatten(1) @ weights[prefix + "self_attn.o_proj.weight"].T
    normed = _rms_norm(hidden, weights[prefix + "post_attention_layernorm.weight"])
    gate, up = (normed @ weights[f"{prefix}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
    return hidden + (F.silu(gate) * up) @ weights[prefix + "mlp.down_proj.weight"].T


def _rms_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    return hidden / torch.sqrt((hidden * hidden).mean(-1, keepdim=True) + 1e-6) * weight


def _rotate(states: Tensor) -> Tensor:
    """Rotary positions 0, 1, 2, ...; the first half of a head's channels pairs with the second."""
    length, _, width = states.shape
    angles = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    first, second = states.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_log_probabilities_equal_a_plain_implementation(checkpoint, decoding) -> None:
    policy = load(checkpoint, decoding)
    weights, seen = read_tensors(checkpoint), observations(3)
    inputs = policy.prepare(seen, INSTRUCTIONS)
    temperatures = torch.tensor([1.6, 0.7, 0.25])
    count = policy.chunk_steps * 7
    sampled = policy.sample(inputs, temperatures, torch.arange(3 * count).view(3, count))
    for row, (instruction, temperature) in enumerate(zip(INSTRUCTIONS, temperatures, strict=True)):
        pixels = prepare_images(seen["agentview_image"][row][None, ::-1, ::-1], SIZE.image)[0]
        visual = _plain_visual(weights, policy, torch.from_numpy(pixels))
        logits = _plain_logits(weights, policy, visual, instruction, sampled.tokens[row])
        _assert_sampled_from(logits / temperature, sampled, row)


def _assert_sampled_from(scaled: Tensor, sampled, row: int) -> None:
    distribution = scaled.log_softmax(-1)
    expected = distribution.gather(-1, sampled.tokens[row][:, None])[:, 0]
    torch.testing.assert_close(sampled.logprobs[row], expected, atol=1e-4, rtol=1e-4)
    entropy = -(distribution.exp() * distribution).sum(-1)
    torch.testing.assert_close(sampled.entropies[row], entropy, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("world", "num_images"), [("LIBERO", 1), ("LIBERO", 2), ("RoboTwin", 1), ("RoboTwin", 3)]
)
def test_images_and_state_equal_a_plain_implementation(tmp_path, world, num_images) -> None:
    """Each image has its own patches, in the cameras' order; the state's token follows the last."""
    folder = write_state_checkpoint(tmp_path, world)
    policy = load(folder, num_images=num_images)
    weights = read_tensors(folder)
    if world == "LIBERO":
        seen, state_dim = arm_observations(2), 8
        states = [_arm_state(seen, row) for row in range(2)]
        images = [seen["agentview_image"], seen["robot0_eye_in_hand_image"]][:num_images]
        pixels = [prepare_images(each[:, ::-1, ::-1], SIZE.image) for each in images]
        bounds = {"low": LIBERO_STATE["q01"], "high": LIBERO_STATE["q99"]}
    else:
        seen, state_dim = two_arm_observations(2), 14
        states = seen["joint_state"].tolist()
        images = [seen[f"{side}_camera_image"] for side in ("head", "left", "right")][:num_images]
        pixels = [crop_images(each, SIZE.image) for each in images]
        bounds = {"low": ROBOTWIN_STATISTICS["min"], "high": ROBOTWIN_STATISTICS["max"]}
    ends = {name: torch.tensor(values, dtype=torch.float64) for name, values in bounds.items()}
    projector = projector_tensors(state_dim)
    temperatures = torch.tensor([1.6, 0.7])
    count = policy.chunk_steps * policy.action_dim
    inputs = policy.prepare(seen, INSTRUCTIONS[:2])
    sampled = policy.sample(inputs, temperatures, torch.arange(2 * count).view(2, count))
    evaluated = policy.evaluate(inputs, sampled.tokens, temperatures)
    torch.testing.assert_close(evaluated.logprobs, sampled.logprobs, atol=1e-5, rtol=1e-5)
    for row, temperature in enumerate(temperatures):
        patches = [_plain_visual(weights, policy, torch.from_numpy(each[row])) for each in pixels]
        visual = torch.cat([*patches, _plain_state(projector, states[row], ends)])
        logits = _plain_logits(weights, policy, visual, INSTRUCTIONS[row], sampled.tokens[row])
        _assert_sampled_from(logits / temperature, sampled, row)
