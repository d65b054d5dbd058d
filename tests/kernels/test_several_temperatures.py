"""Several temperatures a row: one read of the logits scores each row's token at all of them."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.test_token_logprobs import (
    by_public_function,
    by_reference,
    by_triton,
    gradient,
    make_tokens,
)
from ttrl_env.kernels import token_logprobs, token_logprobs_from_hidden


@pytest.fixture(params=["cpu", "triton"])
def logprobs_of(request):
    if request.param == "triton":
        pytest.importorskip("triton")
    return {"cpu": by_public_function, "triton": by_triton}[request.param]


def make_inputs(rows, vocab, columns, dtype=torch.float32, seed=0):
    """Logits, tokens inside a window, temperatures ``[rows, columns]`` and the window."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, vocab, generator=generator) * 3.0).to(dtype)
    window = (vocab // 10, vocab - vocab // 7)
    temperatures = 0.2 + 1.5 * torch.rand(rows, columns, generator=generator)
    return logits, make_tokens(rows, window), temperatures, window


def break_some(logits, temperatures, lo):
    """Rows 0 to 2 cannot be sampled; column 1 is greedy in rows 2 and 3, all columns are in row 4."""
    logits[0, lo + 1] = float("nan")
    logits[1] = -torch.inf
    logits[2, lo + 2] = torch.inf
    logits[5, lo : lo + 20 : 2] = -torch.inf
    temperatures[2:4, 1] = 0.0
    temperatures[4] = 0.0


def random_grads(temperatures):
    return torch.randn(2, *temperatures.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("vocab", "columns", "dtype"),
    [(1, 2, torch.float32), (63, 4, torch.float32), (257, 1, torch.bfloat16), (9000, 2, torch.float16)],
    ids=str,
)
@pytest.mark.usefixtures("poisoned_memory")
def test_each_column_equals_a_call_of_its_own_bit_for_bit(logprobs_of, vocab, columns, dtype):
    logits, tokens, temperatures, window = make_inputs(6, vocab, columns, dtype)
    if vocab > 60 and columns > 1:
        break_some(logits, temperatures, window[0])
    got = logprobs_of(logits, tokens, temperatures, window)
    for k, column in enumerate(temperatures.unbind(1)):
        alone = logprobs_of(logits, tokens, column, window)
        for ours, single in zip(got, alone, strict=True):
            assert ours.shape == temperatures.shape
            assert ours[:, k].tolist() == single.tolist()


@pytest.mark.parametrize(
    ("vocab", "columns", "dtype"),
    [(63, 8, torch.float32), (3000, 2, torch.bfloat16), (9000, 3, torch.float32)],
    ids=str,
)
@pytest.mark.usefixtures("poisoned_memory")
def test_the_gradient_is_that_of_the_reference(logprobs_of, vocab, columns, dtype):
    logits, tokens, temperatures, window = make_inputs(6, vocab, columns, dtype)
    break_some(logits, temperatures, window[0])
    grads = random_grads(temperatures)
    got = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
    want = gradient(by_reference, logits.double(), tokens, temperatures, window, grads)
    assert got.dtype == dtype
    tolerance = 3e-6 if dtype == torch.float32 else 1.6e-2
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=tolerance)
    assert (got[[0, 1, 2, 4]] == 0).all()
    assert (got[3] != 0).any()  # from the columns that are not greedy


def test_the_gradient_of_one_column_is_that_of_its_own_call_bit_for_bit(logprobs_of):
    logits, tokens, temperatures, window = make_inputs(6, 300, 3)
    grads = torch.zeros(2, 6, 3)
    grads[:, :, 1] = random_grads(temperatures[:, 1])
    others_are_zero = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
    alone = gradient(logprobs_of, logits, tokens, temperatures[:, 1], window, grads[:, :, 1])
    assert torch.equal(others_are_zero, alone)


@pytest.mark.parametrize("used", [0, 1])
def test_strided_gradients_and_an_unused_output(logprobs_of, used):
    logits, tokens, temperatures, window = make_inputs(4, 100, 3)
    strided = torch.stack([torch.randn(3, 4), torch.full((3, 4), float("nan"))], dim=-1)[..., 0].t()
    for grad in (strided, torch.ones(1, 1).expand(4, 3)):
        grads = [None, None]
        grads[used] = grad
        got = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
        want = gradient(by_reference, logits, tokens, temperatures, window, grads)
        torch.testing.assert_close(got, want, atol=5e-6, rtol=3e-6)


def test_strided_temperatures(logprobs_of):
    logits, tokens, temperatures, window = make_inputs(4, 100, 3)
    want = logprobs_of(logits, tokens, temperatures, window)
    got = logprobs_of(logits, tokens, temperatures.t().contiguous().t(), window)
    assert torch.equal(torch.stack(got), torch.stack(want))


def test_a_row_does_not_change_with_the_rest_of_the_batch(logprobs_of):
    logits, tokens, temperatures, window = make_inputs(6, 1500, 2)
    break_some(logits, temperatures, window[0])
    grads = random_grads(temperatures)
    rows = [5, 3]
    part = (logits[rows], tokens[rows], temperatures[rows], window)
    whole_values = torch.stack(logprobs_of(logits, tokens, temperatures, window))
    assert torch.equal(torch.stack(logprobs_of(*part)), whole_values[:, rows])
    whole = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
    assert torch.equal(gradient(logprobs_of, *part, grads[:, rows]), whole[rows])


def test_gradcheck_in_float64():
    logits, tokens, temperatures, window = make_inputs(3, 9, 2, torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: token_logprobs(z, tokens, temperatures, window=window), (logits / 3).requires_grad_()
    )


def test_from_hidden_states_each_column_equals_a_call_of_its_own():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 16, generator=generator, requires_grad=True)
    weight = torch.randn(40, 16, generator=generator, requires_grad=True)
    tokens, temperatures = torch.arange(10, 15), 0.5 + torch.rand(5, 3, generator=generator)
    together = token_logprobs_from_hidden(hidden, weight, tokens, temperatures, window=(8, 30))
    columns = [
        token_logprobs_from_hidden(hidden, weight, tokens, column, window=(8, 30))
        for column in temperatures.unbind(1)
    ]
    for ours, each in zip(together, zip(*columns, strict=True), strict=True):
        assert torch.equal(ours, torch.stack(each, dim=1))
    got = torch.autograd.grad(together[0].sum() + together[1].sum(), (hidden, weight))
    every = torch.stack([each for column in columns for each in column])
    want = torch.autograd.grad(every.sum(), (hidden, weight))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_second_derivative_is_an_error():
    logits, tokens, temperatures, window = make_inputs(3, 40, 2)
    logits.requires_grad_()
    logprobs, _ = token_logprobs(logits, tokens, temperatures, window=window)
    (first,) = torch.autograd.grad(logprobs.sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(first.square().sum(), logits)


def test_three_numbers_for_each_temperature_are_kept_for_the_backward_pass():
    logits, tokens, temperatures, window = make_inputs(6, 4000, 4)
    saved = []

    def note(tensor):
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_logprobs(logits.requires_grad_(), tokens, temperatures, window=window)
    assert sorted(saved) == [(3, 6, 4), (6,), (6, 4), (6, 4000)]


def test_zero_rows():
    logits, none = torch.zeros(0, 20, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    for each in (logits, logits.detach().double().requires_grad_()):
        logprobs, entropies = token_logprobs(each, none, torch.zeros(0, 3))
        assert logprobs.shape == entropies.shape == (0, 3)
        (grad,) = torch.autograd.grad(logprobs.sum() + entropies.sum(), each)
        assert grad.shape == (0, 20)
