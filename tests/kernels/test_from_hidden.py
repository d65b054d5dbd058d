"""The forms that take hidden states and a head equal those that take the head's float32 logits."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttrl_env.kernels import (
    head,
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)

WINDOW = (300, 556)


@pytest.fixture
def several_blocks(monkeypatch):
    """Few logits at a time, so that nine rows make three blocks."""
    monkeypatch.setattr(head, "LOGITS_AT_A_TIME", 4 * 256)


def make_head(dtype=torch.float32, rows=9, dim=48, vocab=600):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, dim, generator=generator).to(dtype)
    weight = (torch.randn(vocab, dim, generator=generator) / 4).to(dtype)
    return hidden, weight, 0.5 + torch.rand(rows, generator=generator), torch.arange(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.usefixtures("several_blocks")
def test_sampling_equals_sampling_from_the_logits(dtype):
    hidden, weight, temperatures, seeds = make_head(dtype)
    greedy = seeds == 4
    logits = hidden.float() @ weight.float().t()
    want = sample_tokens(logits, temperatures, seeds, 5, window=WINDOW, greedy=greedy)
    got = sample_from_hidden(hidden, weight, temperatures, seeds, 5, window=WINDOW, greedy=greedy)
    assert got.tokens.tolist() == want.tokens.tolist()
    torch.testing.assert_close(got.logprobs, want.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.entropies, want.entropies, atol=1e-5, rtol=1e-5)
    assert got.valid.all()


@pytest.mark.usefixtures("several_blocks")
def test_logprobs_and_gradients_equal_those_through_the_logits():
    hidden, weight, temperatures, seeds = make_head()
    tokens = sample_from_hidden(hidden, weight, temperatures, seeds, window=WINDOW).tokens
    coefficients = torch.randn(2, 9, generator=torch.Generator().manual_seed(1))
    hidden.requires_grad_()
    weight.requires_grad_()
    got = token_logprobs_from_hidden(hidden, weight, tokens, temperatures, window=WINDOW)
    want = token_logprobs(hidden @ weight.t(), tokens, temperatures, window=WINDOW)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    got_grads = torch.autograd.grad(got, (hidden, weight), list(coefficients))
    want_grads = torch.autograd.grad(want, (hidden, weight), list(coefficients))
    for ours, theirs in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (got_grads[1][: WINDOW[0]] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.usefixtures("several_blocks")
def test_half_precision_gradients_are_near_those_of_float32(dtype):
    hidden, weight, temperatures, seeds = make_head(dtype)
    tokens = sample_from_hidden(hidden, weight, temperatures, seeds).tokens

    def gradients(hidden, weight):
        hidden, weight = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
        logprobs, entropies = token_logprobs_from_hidden(hidden, weight, tokens, temperatures)
        return torch.autograd.grad(logprobs.sum() + entropies.sum(), (hidden, weight))

    for ours, theirs in zip(
        gradients(hidden, weight), gradients(hidden.float(), weight.float()), strict=True
    ):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.float(), theirs, atol=0.02 * theirs.abs().max().item(), rtol=0.02)


def test_rollout_and_training_agree_bit_for_bit():
    hidden, weight, temperatures, seeds = make_head(rows=40)
    sampled = sample_from_hidden(hidden, weight, temperatures, seeds, window=WINDOW)
    logprobs, entropies = token_logprobs_from_hidden(
        hidden, weight, sampled.tokens, temperatures, window=WINDOW
    )
    assert logprobs.tolist() == sampled.logprobs.tolist()
    assert entropies.tolist() == sampled.entropies.tolist()


@pytest.mark.usefixtures("several_blocks", "poisoned_memory")
def test_results_do_not_come_from_uninitialised_memory():
    assert torch.empty(1).isnan().all(), "the memory is not poisoned"
    hidden, weight, temperatures, seeds = make_head(torch.bfloat16)
    sampled = sample_from_hidden(hidden, weight, temperatures, seeds, window=WINDOW)
    hidden.requires_grad_()
    weight.requires_grad_()
    outputs = token_logprobs_from_hidden(hidden, weight, sampled.tokens, temperatures, window=WINDOW)
    grads = torch.autograd.grad(outputs, (hidden, weight), list(torch.ones(2, 9)))
    assert all(tensor.isfinite().all() for tensor in (sampled.logprobs, sampled.entropies, *outputs, *grads))
    assert sampled.valid.all()


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any result of an operation has."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.usefixtures("several_blocks")
def test_neither_logits_nor_their_gradient_exist_whole():
    rows, dim, vocab = 400, 4, 256
    hidden, weight, temperatures, seeds = make_head(rows=rows, dim=dim, vocab=vocab)
    hidden.requires_grad_()
    weight.requires_grad_()
    with LargestTensor() as largest:
        sampled = sample_from_hidden(hidden, weight, temperatures, seeds)
        logprobs, entropies = token_logprobs_from_hidden(hidden, weight, sampled.tokens, temperatures)
        (logprobs.sum() + entropies.sum()).backward()
    assert largest.elements == rows * dim, "hidden states and their gradient are the largest tensors"
    assert largest.elements >= head.LOGITS_AT_A_TIME


def test_a_frozen_head_costs_no_gradient():
    hidden, weight, temperatures, seeds = make_head()
    logprobs, _ = token_logprobs_from_hidden(hidden.requires_grad_(), weight, seeds, temperatures)
    logprobs.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_zero_rows():
    hidden, weight, temperatures, seeds = make_head(rows=0)
    assert sample_from_hidden(hidden, weight, temperatures, seeds).tokens.shape == (0,)
    logprobs, _ = token_logprobs_from_hidden(hidden.requires_grad_(), weight, seeds, temperatures)
    logprobs.sum().backward()
    assert hidden.grad.shape == (0, 48)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (dict(head_weight=torch.zeros(48, 600)), ValueError, r"head_weight: .*\[vocab, 48\].*\[48, 600\]"),
        (dict(head_weight=torch.zeros(600, 48).half()), TypeError, "head_weight: expected torch.float32"),
        (dict(hidden=torch.zeros(3, 3, 48)), ValueError, "hidden: expected shape"),
        (dict(temperatures=torch.ones(8)), ValueError, r"temperatures: expected shape \[9\]"),
        (dict(seeds=torch.ones(9)), TypeError, "seeds: expected torch.int64"),
        (dict(window=(500, 700)), ValueError, "window: .*600"),
    ],
)
def test_sample_from_hidden_names_the_wrong_argument(wrong, error, message):
    arguments = dict(zip(("hidden", "head_weight", "temperatures", "seeds"), make_head(), strict=True))
    with pytest.raises(error, match=message):
        sample_from_hidden(**{**arguments, **wrong})


def test_outputs_without_a_gradient_of_their_own_give_zero():
    hidden, weight, temperatures, seeds = make_head()
    hidden.requires_grad_()
    logprobs, entropies = token_logprobs_from_hidden(hidden, weight, seeds, temperatures)
    (logprobs.detach().sum() + 0 * entropies.sum()).backward()
    assert (hidden.grad == 0).all()
