"""Tensors that are not what their memory holds: transforms of ``torch.func``, modes, lazy negation."""

from __future__ import annotations

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tests.kernels.sampling_paths import make_inputs
from ttrl_env.kernels import (
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)

LOGITS, TEMPERATURES, SEEDS = make_inputs(6, 64)
HEAD = torch.randn(32, 64, generator=torch.Generator().manual_seed(5))
TOKENS = torch.arange(6)

CALLS = {
    "sample_tokens": lambda z, t: sample_tokens(z, t, SEEDS, 2, window=(3, 60)).tensors(),
    "sample_from_hidden": lambda z, t: sample_from_hidden(z, HEAD, t, SEEDS, 2).tensors(),
    "token_logprobs": lambda z, t: token_logprobs(z, TOKENS, t),
    "token_logprobs_from_hidden": lambda z, t: token_logprobs_from_hidden(z, HEAD, TOKENS, t),
}
LOGITS_CALLS = ["sample_tokens", "token_logprobs"]


def assert_same(got, want):
    for ours, theirs in zip(got, want, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", CALLS)
def test_functionalize_changes_nothing(name):
    functional = torch.func.functionalize(CALLS[name])
    assert_same(functional(LOGITS, TEMPERATURES), CALLS[name](LOGITS, TEMPERATURES))


def test_functionalize_with_tensors_from_outside():
    sampled = torch.func.functionalize(lambda t: sample_tokens(LOGITS, t, SEEDS, 2).tensors())(TEMPERATURES)
    assert_same(sampled, sample_tokens(LOGITS, TEMPERATURES, SEEDS, 2).tensors())
    constant = torch.func.functionalize(lambda _: sample_tokens(LOGITS, TEMPERATURES, SEEDS, 2).tensors())
    assert_same(constant(TEMPERATURES), sampled)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", CALLS)
def test_vmap_equals_a_call_for_each(name):
    logits = torch.stack([LOGITS, LOGITS.flip(0)])
    got = torch.vmap(lambda z: CALLS[name](z, TEMPERATURES))(logits)
    for i in range(2):
        assert_same([each[i] for each in got], CALLS[name](logits[i], TEMPERATURES))


@pytest.mark.parametrize("name", LOGITS_CALLS)
def test_a_recorded_graph_computes_anew(name):
    graph = make_fx(CALLS[name])(LOGITS, TEMPERATURES)
    other = LOGITS.flip(1)
    assert_same(graph(other, TEMPERATURES), CALLS[name](other, TEMPERATURES))


@pytest.mark.parametrize("name", CALLS)
def test_lazily_negated_tensors_are_read_as_negated(name):
    negated = (-LOGITS).to(torch.complex64).mul(1j).conj().imag
    assert negated.is_neg()
    assert_same(CALLS[name](negated, TEMPERATURES), CALLS[name](negated.clone(), TEMPERATURES))


@pytest.mark.parametrize("name", CALLS)
def test_zeros_without_memory_and_subclasses_are_read(name):
    class Own(torch.Tensor):
        pass

    zeros = torch._efficientzerotensor(LOGITS.shape)
    assert_same(CALLS[name](zeros, TEMPERATURES), CALLS[name](torch.zeros_like(LOGITS), TEMPERATURES))
    assert_same(CALLS[name](LOGITS.as_subclass(Own), TEMPERATURES), CALLS[name](LOGITS, TEMPERATURES))


def test_upstream_gradients_may_be_strided_or_negated():
    temperatures = torch.stack([TEMPERATURES, TEMPERATURES * 2], 1)
    logits = LOGITS.clone().requires_grad_()
    logprobs, entropies = token_logprobs(logits, TOKENS, temperatures)
    strided = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).t()
    negated = strided.to(torch.complex64).mul(1j).conj().imag
    assert negated.is_neg()
    (got,) = torch.autograd.grad((logprobs, entropies), logits, (strided, negated), retain_graph=True)
    plain = (strided.contiguous(), negated.clone().contiguous())
    (want,) = torch.autograd.grad((logprobs, entropies), logits, plain)
    assert torch.equal(got, want)
