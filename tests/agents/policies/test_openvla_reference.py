"""The whole network against a second, plain implementation: one row, no padding, no cache, no libraries.

Llama as its paper and OpenVLA's code have it, on the checkpoint's tensors by name. It is the specification
that a new release of transformers is held against.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.agents.policies.openvla_inputs import INSTRUCTIONS, load, observations
from tests.agents.policies.tiny_openvla import Size, read_tensors, tiny_tokenizer
from ttrl_env.agents.policies.openvla.pixels import prepare_images

SIZE = Size()


def _plain_logits(weights: dict[str, Tensor], policy, image, instruction: str, tokens: Tensor) -> Tensor:
    """Logits ``[K, 256]`` of the action tokens, of one row."""
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
    visual = _plain_visual(weights, policy, image)
    hidden = torch.cat([text[:1], visual, text[1:], actions])
    length = len(hidden)
    visible = torch.ones(length, length).bool() if parallel else torch.ones(length, length).tril().bool()
    for layer in range(SIZE.layers):
        hidden = _plain_layer(weights, f"language_model.model.layers.{layer}.", hidden, visible)
    hidden = _rms_norm(hidden, weights["language_model.model.norm.weight"])
    end_of_prompt = len(text) + len(visual) - 1
    predicting = hidden[end_of_prompt : end_of_prompt + len(tokens)]
    return predicting @ weights["language_model.lm_head.weight"][SIZE.vocab - 256 : SIZE.vocab].T


def _plain_visual(weights: dict[str, Tensor], policy, image) -> Tensor:
    pixels = torch.from_numpy(prepare_images(image[None, ::-1, ::-1], SIZE.image)).float() / 255
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
        image = seen["agentview_image"][row]
        logits = _plain_logits(weights, policy, image, instruction, sampled.tokens[row])
        distribution = (logits / temperature).log_softmax(-1)
        expected = distribution.gather(-1, sampled.tokens[row][:, None])[:, 0]
        torch.testing.assert_close(sampled.logprobs[row], expected, atol=1e-4, rtol=1e-4)
        entropy = -(distribution.exp() * distribution).sum(-1)
        torch.testing.assert_close(sampled.entropies[row], entropy, atol=1e-4, rtol=1e-4)
