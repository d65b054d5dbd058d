"""What OpenVLA computes: who looks at whom, and the same log-probabilities whichever way they are taken."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tests.agents.policies.openvla_inputs import INSTRUCTIONS, load, observations
from ttrl_env.agents.policies.openvla.decoding import Parallel, Prefix
from ttrl_env.agents.policies.openvla.model import OpenVLAModel

pytestmark = pytest.mark.slow

TEMPERATURES = torch.tensor([1.6, 0.7, 0.25])


def _seeds(policy, rows: int, first: int = 0) -> torch.Tensor:
    count = policy.chunk_steps * 7
    return torch.arange(first, first + rows * count).view(rows, count)


def _inputs(policy, rows: int = 3, seed: int = 0):
    return policy.prepare(observations(rows, seed), INSTRUCTIONS[:rows])


def _row(inputs, row: int):
    return {key: tensor[row : row + 1] for key, tensor in inputs.items()}


def test_inputs_are_cpu_tensors_that_concatenate_over_tasks(policy) -> None:
    inputs = _inputs(policy)
    assert {key: tensor.dtype for key, tensor in inputs.items()} == {
        "pixels": torch.uint8,
        "prompt_ids": torch.int64,
        "prompt_lengths": torch.int64,
    }
    assert inputs["pixels"].shape == (3, 3, 28, 28)
    for key, tensor in policy.prepare(observations(1), ["a"]).items():
        assert torch.cat([tensor, inputs[key]]).shape[0] == 4


def test_sampling_and_evaluation_agree_at_mixed_temperatures(policy) -> None:
    inputs = _inputs(policy)
    sampled = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3))
    evaluated = policy.evaluate(inputs, sampled.tokens, TEMPERATURES)
    assert sampled.tokens.shape == evaluated.logprobs.shape == (3, policy.chunk_steps * 7)
    assert sampled.valid.all()
    assert ((sampled.tokens >= 0) & (sampled.tokens < 256)).all()
    assert (evaluated.logprobs - sampled.logprobs).abs().max() < 1e-5
    assert (evaluated.entropies - sampled.entropies).abs().max() < 1e-5
    assert evaluated.features.shape == (3, policy.num_features)
    assert evaluated.features.dtype == evaluated.logprobs.dtype == torch.float32


def test_log_probabilities_are_those_of_the_whole_head_cut_to_the_window(policy) -> None:
    """Against a plain softmax over logits of the language model's own head."""
    inputs = _inputs(policy)
    tokens = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3)).tokens
    with torch.no_grad():
        hidden = policy.hidden_states(inputs, tokens)
        logits = policy.model.language_model.lm_head(hidden)[..., 256:512]
    expected = (logits / TEMPERATURES[:, None, None]).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    evaluated = policy.evaluate(inputs, tokens, TEMPERATURES)
    torch.testing.assert_close(evaluated.logprobs, expected, atol=1e-5, rtol=0)


def test_gradients_do_not_change_the_forward_pass(policy) -> None:
    inputs = _inputs(policy)
    tokens = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3)).tokens
    with torch.no_grad():
        without = policy.evaluate(inputs, tokens, TEMPERATURES)
    within = policy.evaluate(inputs, tokens, TEMPERATURES)
    assert torch.equal(without.logprobs, within.logprobs)
    within.logprobs.sum().backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_greedy_takes_the_most_likely_token(policy) -> None:
    inputs = _inputs(policy)
    greedy = policy.sample(inputs, torch.zeros(3), _seeds(policy, 3))
    again = policy.sample(inputs, torch.zeros(3), _seeds(policy, 3, first=999))
    assert torch.equal(greedy.tokens, again.tokens)
    assert (greedy.logprobs == 0).all()


def test_padding_changes_no_result(policy) -> None:
    """Prompts of different lengths in one batch, against each alone."""
    inputs = _inputs(policy)
    together = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3))
    evaluated = policy.evaluate(inputs, together.tokens, TEMPERATURES)
    for row in range(3):
        alone = policy.sample(
            _row(inputs, row), TEMPERATURES[row : row + 1], _seeds(policy, 3)[row : row + 1]
        )
        assert torch.equal(alone.tokens[0], together.tokens[row])
        torch.testing.assert_close(alone.logprobs[0], together.logprobs[row], atol=1e-5, rtol=0)
        single = policy.evaluate(_row(inputs, row), alone.tokens, TEMPERATURES[row : row + 1])
        torch.testing.assert_close(single.features[0], evaluated.features[row], atol=1e-5, rtol=1e-5)


def test_image_instruction_and_nothing_else_decide(policy) -> None:
    base, tokens = _inputs(policy, 1), None
    tokens = policy.sample(base, torch.ones(1), _seeds(policy, 1)).tokens

    def logprobs(inputs):
        with torch.no_grad():
            return policy.evaluate(inputs, tokens, torch.ones(1)).logprobs

    assert (logprobs(base) - logprobs(_inputs(policy, 1, seed=1))).abs().max() > 1e-3
    other = policy.prepare(observations(1), ["pick up the white bowl"])
    assert (logprobs(base) - logprobs(other)).abs().max() > 1e-3
    upper_case = policy.prepare(observations(1), [INSTRUCTIONS[0].upper()])
    assert torch.equal(logprobs(base), logprobs(upper_case))


def _model(checkpoint, attention: str) -> OpenVLAModel:
    loaded = load(checkpoint)
    model = OpenVLAModel(loaded.config, attention)
    model.load_state_dict(loaded.model.state_dict())
    return model


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_parallel_attention_is_bidirectional(checkpoint, attention) -> None:
    """Change the last token of a sequence; with stock Llama's causal mask the first would not notice."""
    policy = load(checkpoint, "parallel")
    policy.decoder._model = model = _model(checkpoint, attention)
    prefix = policy.decoder.prefix(policy.visual_tokens(_inputs(policy)), _inputs(policy))
    assert isinstance(policy.decoder, Parallel)
    sequence = policy.decoder.sequence(prefix)
    changed = sequence.embeddings.clone()
    changed[:, -1] += 1.0
    mask = sequence.valid[:, None, None, :]
    with torch.no_grad():
        before = model.hidden_states(sequence.embeddings, mask, sequence.positions)
        after = model.hidden_states(changed, mask, sequence.positions)
    assert (before - after)[:, 0].abs().max() > 1e-4
    assert (before - after)[:, -3].abs().max() > 1e-4


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_autoregressive_attention_is_causal(checkpoint, attention) -> None:
    policy = load(checkpoint, "autoregressive")
    policy.decoder._model = _model(checkpoint, attention)
    inputs, tokens = _inputs(policy), torch.arange(21).view(3, 7)
    changed = tokens.clone()
    changed[:, 3] = 200
    with torch.no_grad():
        before, after = (policy.hidden_states(inputs, each) for each in (tokens, changed))
    assert torch.equal(before[:, :4], after[:, :4])  # the state that predicts token 3 has not seen it
    assert ((before - after)[:, 4:].abs().amax(dim=(0, 2)) > 1e-4).all()


def test_eager_and_sdpa_attention_agree(checkpoint) -> None:
    for decoding in ("parallel", "autoregressive"):
        policy = load(checkpoint, decoding)
        inputs = _inputs(policy)
        tokens = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3)).tokens
        with torch.no_grad():
            expected = policy.hidden_states(inputs, tokens)
            policy.decoder._model = _model(checkpoint, "eager")
            torch.testing.assert_close(policy.hidden_states(inputs, tokens), expected, atol=1e-4, rtol=1e-4)


def test_parallel_states_end_before_the_last_placeholder(parallel) -> None:
    """Token i is predicted by the state before position i; the first by the end of the prompt."""
    inputs = _row(_inputs(parallel), 0)
    with torch.no_grad():
        prefix = parallel.decoder.prefix(parallel.visual_tokens(inputs), inputs)
        sequence = parallel.decoder.sequence(prefix)
        length = prefix.embeddings.shape[1]
        assert sequence.embeddings.shape[1] == length + 56 + 1
        assert (sequence.embeddings[:, length:-1] == 0).all()
        stop = parallel.model.embed_tokens(torch.tensor([2]))
        assert torch.equal(sequence.embeddings[0, -1:], stop)
        states = parallel.model.hidden_states(
            sequence.embeddings, sequence.valid[:, None, None, :], sequence.positions
        )
        expected = states[:, length - 1 : length - 1 + 56]
        assert torch.equal(parallel.hidden_states(inputs, torch.zeros(1, 56)), expected)


def test_the_sequence_is_bos_patches_text_with_contiguous_positions(parallel) -> None:
    inputs = _inputs(parallel)
    prefix = parallel.decoder.prefix(parallel.visual_tokens(inputs), inputs)
    patches = 4
    longest = int(inputs["prompt_lengths"].max())
    assert prefix.embeddings.shape[1] == patches + longest
    for row, length in enumerate(inputs["prompt_lengths"].tolist()):
        valid = prefix.valid[row]
        assert int(valid.sum()) == patches + length
        assert valid[: 1 + patches].all()
        assert prefix.positions[row][valid].tolist() == list(range(patches + length))
        words = parallel.tokenizer.token_ids(INSTRUCTIONS[row])
        text = prefix.embeddings[row][valid]
        expected = parallel.model.embed_tokens(torch.tensor(words))
        assert torch.equal(text[[0, *range(1 + patches, patches + length)]], expected)


def test_rotary_positions_of_padding_stay_in_range() -> None:
    prefix = Prefix(embeddings=torch.zeros(1, 4, 2), valid=torch.tensor([[False, False, True, True]]))
    assert prefix.positions.tolist() == [[0, 0, 0, 1]]


def test_channels_are_normalised_for_dino_then_siglip(parallel) -> None:
    seen = []
    parallel.model.vision_backbone.featurizer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    parallel.model.vision_backbone.fused_featurizer.register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    pixels = torch.full((1, 3, 28, 28), 255, dtype=torch.uint8)
    parallel.visual_tokens({"pixels": pixels})
    dino = [(1 - 0.484375) / 0.228515625, (1 - 0.455078125) / 0.2236328125, (1 - 0.40625) / 0.224609375]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(dino)
    assert seen[1][0, :, 0, 0].tolist() == [1.0, 1.0, 1.0]


def test_decoded_actions_are_time_major_environment_actions(policy) -> None:
    rng = np.random.default_rng(0)
    low, high = np.array([-0.5, -0.6, -0.7, -0.1, -0.2, -0.3]), np.array([0.8, 0.7, 0.6, 0.3, 0.2, 0.1])
    actions = np.empty((2, policy.chunk_steps, 7))
    actions[..., :6] = rng.uniform(low, high, size=actions[..., :6].shape)
    actions[..., 6] = rng.choice([-1.0, 1.0], size=actions.shape[:2])
    tokens = policy.encode(actions)
    assert tokens.shape == (2, policy.chunk_steps * 7)
    decoded = policy.decode(tokens)
    assert (np.abs(decoded - actions)[..., :6] <= 0.5 * (high - low) * (2 / 255 / 2) + 1e-6).all()
    assert np.array_equal(decoded[..., 6], actions[..., 6])


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"autocast": True}])
def test_reduced_precision_still_agrees_with_itself(checkpoint, decoding, options) -> None:
    policy = load(checkpoint, decoding, **options)
    inputs = _inputs(policy)
    sampled = policy.sample(inputs, TEMPERATURES, _seeds(policy, 3))
    evaluated = policy.evaluate(inputs, sampled.tokens, TEMPERATURES)
    tolerance = 1e-5 if decoding == "parallel" else 0.3  # the cached pass rounds its keys one by one
    assert (evaluated.logprobs - sampled.logprobs).abs().max() < tolerance
    assert sampled.logprobs.dtype == torch.float32
    evaluated.logprobs.sum().backward()
    full = load(checkpoint, decoding).evaluate(inputs, sampled.tokens, TEMPERATURES)
    assert 0 < (evaluated.logprobs - full.logprobs).abs().mean() < 0.5


def test_gradient_checkpointing_changes_neither_results_nor_gradients(checkpoint) -> None:
    for decoding in ("parallel", "autoregressive"):
        plain = load(checkpoint, decoding)
        thrifty = load(checkpoint, decoding, gradient_checkpointing=True)
        inputs = _inputs(plain)
        tokens = plain.sample(inputs, TEMPERATURES, _seeds(plain, 3)).tokens
        assert torch.equal(thrifty.sample(inputs, TEMPERATURES, _seeds(plain, 3)).tokens, tokens)
        for policy in (plain, thrifty):
            policy.evaluate(inputs, tokens, TEMPERATURES).logprobs.sum().backward()
        for (name, one), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
            if one.requires_grad:
                torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_gradient_checkpointing_recomputes_every_block(checkpoint) -> None:
    policy = load(checkpoint, gradient_checkpointing=True)
    runs = []
    llama = policy.model.language_model.model.layers[0].get_submodule("self_attn")
    llama.register_forward_hook(lambda *_: runs.append("llama"))
    vit = policy.model.vision_backbone.featurizer.blocks[0].get_submodule("mlp")
    vit.register_forward_hook(lambda *_: runs.append("vit"))
    inputs = _inputs(policy)
    evaluated = policy.evaluate(inputs, torch.zeros(3, 56, dtype=torch.int64), TEMPERATURES)
    assert runs == ["vit", "llama"]
    evaluated.logprobs.sum().backward()
    assert sorted(runs) == ["llama", "llama", "vit", "vit"]


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}])
def test_training_mode_makes_no_difference(checkpoint, options) -> None:
    policy = load(checkpoint, **options)
    inputs, tokens = _inputs(policy), torch.zeros(3, 56, dtype=torch.int64)
    policy.train()
    trained = policy.evaluate(inputs, tokens, TEMPERATURES).logprobs
    policy.eval()
    assert torch.equal(policy.evaluate(inputs, tokens, TEMPERATURES).logprobs, trained)


def test_a_copy_shares_nothing(parallel) -> None:
    copied = copy.deepcopy(parallel)
    inputs = _inputs(parallel)
    tokens = torch.zeros(3, 56, dtype=torch.int64)
    before = copied.evaluate(inputs, tokens, TEMPERATURES).logprobs
    with torch.no_grad():
        for parameter in parallel.parameters():
            parameter.add_(0.1)
    assert torch.equal(copied.evaluate(inputs, tokens, TEMPERATURES).logprobs, before)


def test_images_of_another_size_are_refused(parallel) -> None:
    parallel.check_image_size(32)
    with pytest.raises(ValueError, match=r"rendered at 32 x 32 pixels.*got 64 x 64"):
        parallel.prepare(observations(1, size=64), ["a"])
    with pytest.raises(ValueError, match=r"rendered at 32 x 32 pixels.*got 32 x 64"):
        parallel.prepare({"agentview_image": np.zeros((1, 32, 64, 3), np.uint8)}, ["a"])
    with pytest.raises(ValueError, match="the policy needs 'agentview_image'"):
        parallel.prepare({"robot0_eye_in_hand_image": np.zeros((1, 32, 32, 3), np.uint8)}, ["a"])
