"""The public functions inside ``torch.compile`` graphs and in inference mode; the operators' promises."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.kernels import (
    SampledTokens,
    sample_from_hidden,
    sample_tokens,
    token_logprobs,
    token_logprobs_from_hidden,
)

pytestmark = pytest.mark.slow  # PyTorch's compiler

WINDOW = (40, 200)


def compile_whole(function):
    """Without graph breaks; the backend that needs no C++ compiler."""
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_sample_tokens_compiles_to_the_same_samples(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(6, 256)
    compiled = compile_whole(lambda z, t, s, step: sample_tokens(z * 2, t, s, step, window=WINDOW))
    for step in (torch.tensor(0), torch.tensor(5)):
        got = compiled(logits, temperatures, seeds, step)
        want = sample_tokens(logits * 2, temperatures, seeds, step, window=WINDOW)
        assert isinstance(got, SampledTokens)
        assert got.tokens.tolist() == want.tokens.tolist()
        assert got.logprobs.tolist() == want.logprobs.tolist()
        assert got.valid.all()


def test_compiled_step_may_be_an_int_and_out_is_filled(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(6, 256)
    out = SampledTokens.empty(6)
    greedy = seeds > 0

    def sample(step):
        return sample_tokens(logits, temperatures, seeds, step, greedy=greedy, out=out).tokens + 0

    compiled = compile_whole(sample)
    for step in (3, 4):
        want = sample_tokens(logits, temperatures, seeds, step, greedy=greedy)
        assert compiled(step).tolist() == want.tokens.tolist()
        assert out.entropies.tolist() == want.entropies.tolist()


@pytest.mark.parametrize("columns", [(), (3,)])
def test_token_logprobs_compiles_with_its_gradient(sampling_inputs, columns):
    logits, _, _ = sampling_inputs(6, 256)
    temperatures = 0.5 + torch.rand(6, *columns, generator=torch.Generator().manual_seed(0))
    tokens = torch.arange(50, 56)

    def loss(logits, temperatures):
        logprobs, entropies = token_logprobs(logits, tokens, temperatures, window=WINDOW)
        return (logprobs.t() * torch.arange(6)).sum() + 0.5 * entropies.sum()

    logits.requires_grad_()
    compiled = compile_whole(loss)
    (want,) = torch.autograd.grad(loss(logits, temperatures), logits)
    (got,) = torch.autograd.grad(compiled(logits, temperatures), logits)
    torch.testing.assert_close(got, want, atol=0, rtol=0)


@pytest.mark.parametrize("train_head", [False, True])
def test_hidden_forms_compile_with_their_gradients(sampling_inputs, train_head):
    hidden, temperatures, seeds = sampling_inputs(6, 32, scale=1.0)
    weight = torch.randn(256, 32, generator=torch.Generator().manual_seed(0), requires_grad=train_head)
    hidden.requires_grad_()
    inputs = [hidden, weight] if train_head else [hidden]

    def loss(hidden, weight):
        tokens = sample_from_hidden(hidden, weight, temperatures, seeds, window=WINDOW).tokens
        logprobs, entropies = token_logprobs_from_hidden(hidden, weight, tokens, temperatures, window=WINDOW)
        return logprobs.sum() - entropies.square().sum()

    compiled = compile_whole(loss)
    want = torch.autograd.grad(loss(hidden, weight), inputs)
    got = torch.autograd.grad(compiled(hidden, weight), inputs)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_operators_keep_their_promises(sampling_inputs):
    """Schemas, shapes without data, and autograd registration, as PyTorch's own checker sees them."""
    logits, temperatures, seeds = sampling_inputs(3, 64)
    tokens = torch.arange(10, 13)
    weight = torch.randn(70, 64, requires_grad=True)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    operators = torch.ops.ttrl_env
    sampling = (logits, temperatures, seeds, torch.tensor(1), None, 0, 64)
    torch.library.opcheck(operators.sample_tokens.default, sampling, test_utils=checks)
    from_states = (logits, weight.detach(), temperatures, seeds, torch.tensor(1), None, 5, 40)
    torch.library.opcheck(operators.sample_from_hidden.default, from_states, test_utils=checks)
    logits.requires_grad_()
    training = (logits, tokens, temperatures, 5, 40)
    torch.library.opcheck(operators.token_logprobs.default, training, test_utils=checks)
    several = (logits, tokens, torch.stack([temperatures, temperatures + 1], dim=1), 5, 40)
    torch.library.opcheck(operators.token_logprobs.default, several, test_utils=checks)
    from_hidden = (logits, weight, tokens, temperatures, 5, 40)
    torch.library.opcheck(operators.token_logprobs_from_hidden.default, from_hidden, test_utils=checks)


def test_works_in_inference_mode(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(6, 256)
    want = sample_tokens(logits, temperatures, seeds)
    with torch.inference_mode():
        got = sample_tokens(logits * 1, temperatures, seeds)
        logprobs, _ = token_logprobs(logits * 1, got.tokens, temperatures)
    assert got.tokens.tolist() == want.tokens.tolist()
    assert logprobs.tolist() == want.logprobs.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_hidden_forms_work_in_inference_mode(sampling_inputs, dtype):
    hidden, temperatures, seeds = sampling_inputs(6, 32, dtype, scale=1.0)
    weight = torch.nn.Parameter(torch.randn(256, 32, generator=torch.Generator().manual_seed(0)).to(dtype))
    want = sample_from_hidden(hidden, weight, temperatures, seeds, window=WINDOW)
    with torch.inference_mode():
        got = sample_from_hidden(hidden * 1, weight, temperatures, seeds, window=WINDOW)
        logprobs, _ = token_logprobs_from_hidden(hidden * 1, weight, got.tokens, temperatures, window=WINDOW)
    assert got.tokens.tolist() == want.tokens.tolist()
    assert logprobs.tolist() == want.logprobs.tolist()


def test_a_compiled_graph_marks_senseless_temperatures_and_tokens(sampling_inputs):
    """There the host cannot look at values: they must neither raise nor read out of bounds."""
    logits, temperatures, seeds = sampling_inputs(4, 256)
    temperatures[0], temperatures[1] = -1.0, float("nan")
    tokens = torch.tensor([50, 50, 10_000_000, 60])
    sampled = compile_whole(sample_tokens)(logits, temperatures, seeds)
    assert sampled.valid.tolist() == [False, False, True, True]
    logprobs, _ = compile_whole(token_logprobs)(logits, tokens, temperatures)
    assert logprobs.isfinite().tolist() == [False, False, False, True]
