"""Log-probs, entropies and gradients of the CPU and Triton paths against the float64 reference."""

from __future__ import annotations

import warnings

import pytest
import torch

from ttrl_env.kernels import sample_tokens, token_logprobs, token_logprobs_from_hidden
from ttrl_env.kernels.logprobs_reference import token_logprobs_reference

HAS_GPU = torch.cuda.is_available()


class TritonLogprobs(torch.autograd.Function):
    """The Triton launchers on CPU tensors, through the interpreter unless there is a GPU."""

    @staticmethod
    def forward(ctx, logits, tokens, temperatures, window):
        from ttrl_env.kernels.logprobs_triton import launch_forward

        device = "cuda" if HAS_GPU else "cpu"
        lo, hi = window
        logits, tokens, temperatures = (x.to(device) for x in (logits.detach(), tokens, temperatures))
        logprobs, entropies = torch.full((2, *temperatures.shape), float("nan"), device=device)
        kept = torch.full((3, *temperatures.shape), float("nan"), device=device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            launch_forward(logits[:, lo:hi], tokens, temperatures, lo, logprobs, entropies, kept)
        ctx.inputs, ctx.kept, ctx.window = (logits, tokens, temperatures), kept, window
        ctx.set_materialize_grads(False)
        return logprobs.cpu(), entropies.cpu()

    @staticmethod
    def backward(ctx, *grads):
        from ttrl_env.kernels.logprobs_triton import launch_backward

        logits, tokens, temperatures = ctx.inputs
        lo, hi = ctx.window
        grad_logprobs, grad_entropies = (None if grad is None else grad.to(logits.device) for grad in grads)
        grad_logits = torch.zeros(logits.shape, dtype=logits.dtype, device=logits.device)
        grad_logits[:, lo:hi] = float("nan")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            launch_backward(
                logits[:, lo:hi],
                tokens,
                temperatures,
                lo,
                ctx.kept,
                grad_logprobs,
                grad_entropies,
                grad_logits[:, lo:hi],
            )
        return grad_logits.cpu(), None, None, None


def by_triton(logits, tokens, temperatures, window):
    return TritonLogprobs.apply(logits, tokens, temperatures, window)


def by_public_function(logits, tokens, temperatures, window):
    return token_logprobs(logits, tokens, temperatures, window=window)


def by_reference(logits, tokens, temperatures, window):
    lo, hi = window
    return token_logprobs_reference(logits[:, lo:hi], tokens - lo, temperatures)


@pytest.fixture(params=["cpu", "triton"])
def logprobs_of(request):
    if request.param == "triton":
        pytest.importorskip("triton")
    return {"cpu": by_public_function, "triton": by_triton}[request.param]


def make_tokens(rows, window, seed=0):
    lo, hi = window
    return torch.randint(lo, hi, (rows,), generator=torch.Generator().manual_seed(seed))


def gradient(function, logits, tokens, temperatures, window, grads):
    logits = logits.clone().requires_grad_()
    outputs = function(logits, tokens, temperatures, window)
    used = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
    return torch.autograd.grad([output for output, _ in used], logits, [grad.to(o) for o, grad in used])[0]


@pytest.mark.parametrize("vocab", [1, 2, 63, 257, 3000, 20000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_and_gradients_equal_the_reference(logprobs_of, sampling_inputs, vocab, dtype):
    logits, temperatures, _ = sampling_inputs(5, vocab, dtype, seed=vocab)
    window = (vocab // 10, vocab - vocab // 7)
    tokens = make_tokens(5, window)
    want = by_reference(logits, tokens, temperatures, window)
    got = logprobs_of(logits, tokens, temperatures, window)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=3e-6, rtol=3e-6)
    grads = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    got_grad = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
    want_grad = gradient(by_reference, logits.double(), tokens, temperatures, window, grads)
    assert got_grad.dtype == dtype
    tolerance = {torch.float32: 3e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[dtype]
    torch.testing.assert_close(got_grad.double(), want_grad, atol=3e-6, rtol=tolerance)
    assert (got_grad[:, : window[0]] == 0).all()
    assert (got_grad[:, window[1] :] == 0).all()


@pytest.mark.parametrize("vocab", [7, 300, 9000])
def test_broken_and_greedy_rows_have_constants_and_no_gradient(logprobs_of, sampling_inputs, vocab):
    logits, temperatures, _ = sampling_inputs(8, vocab, seed=1)
    logits[0, 3] = float("nan")
    logits[1] = -torch.inf
    logits[2, 5] = torch.inf
    logits[3, 1::2] = -torch.inf
    temperatures[4:6] = 0.0
    logits[4, -1] = logits[4, 2] = 60.0
    logits[5, 1] = 60.0
    tokens = torch.tensor([0, 0, 5, 2, 2, 0, 1, 1])
    window = (0, vocab)
    logprobs, entropies = logprobs_of(logits, tokens, temperatures, window)
    assert logprobs[:3].tolist() == [-torch.inf] * 3
    assert logprobs[4:6].tolist() == [0.0, -torch.inf]
    assert (entropies[[0, 1, 2, 4, 5]] == 0).all()
    assert logprobs[[3, 6, 7]].isfinite().all()
    grad = gradient(logprobs_of, logits, tokens, temperatures, window, torch.ones(2, 8))
    assert grad.isfinite().all()
    assert (grad[[0, 1, 2, 4, 5]] == 0).all()
    assert (grad[[3, 6, 7]].abs().sum(1) > 0.1).all()
    assert (grad[3, 1::2].abs() < 1e-30).all()
    want = gradient(by_reference, logits, tokens, temperatures, window, torch.ones(2, 8))
    torch.testing.assert_close(grad, want, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("used", [0, 1])
def test_one_output_may_go_unused(logprobs_of, sampling_inputs, used):
    logits, temperatures, _ = sampling_inputs(3, 256)
    window = (16, 200)
    tokens = make_tokens(3, window)
    grads = [None, None]
    grads[used] = torch.tensor([1.0, -2.0, 0.5])
    got = gradient(logprobs_of, logits, tokens, temperatures, window, grads)
    want = gradient(by_reference, logits, tokens, temperatures, window, grads)
    torch.testing.assert_close(got, want, atol=2e-6, rtol=2e-6)


def test_strided_logits_and_gradients(logprobs_of, sampling_inputs):
    logits, temperatures, _ = sampling_inputs(4, 300)
    window = (0, 300)
    tokens = make_tokens(4, window)
    strided = torch.stack([torch.randn(2, 4), torch.full((2, 4), float("nan"))], dim=-1)[..., 0]
    want = gradient(by_reference, logits, tokens, temperatures, window, strided)
    got = gradient(logprobs_of, logits.t().contiguous().t(), tokens, temperatures, window, strided)
    torch.testing.assert_close(got, want, atol=3e-6, rtol=3e-6)
    expanded = torch.ones(2, 1).expand(2, 4)
    want = gradient(by_reference, logits, tokens, temperatures, window, expanded)
    got = gradient(logprobs_of, logits, tokens, temperatures, window, expanded)
    torch.testing.assert_close(got, want, atol=3e-6, rtol=3e-6)


def test_gradcheck_in_float64_with_a_temperature_a_row(sampling_inputs):
    logits, temperatures, _ = sampling_inputs(4, 9, torch.float64, scale=1.0)
    tokens = torch.tensor([2, 7, 3, 5])
    assert torch.autograd.gradcheck(
        lambda x: token_logprobs(x, tokens, temperatures, window=(2, 8)), logits.requires_grad_()
    )


@pytest.mark.parametrize(("vocab", "window"), [(256, None), (32064, (31744, 32000)), (5000, None)])
def test_sampled_logprobs_are_those_of_the_training_twin_bit_for_bit(sampling_inputs, vocab, window):
    logits, temperatures, seeds = sampling_inputs(32, vocab)
    temperatures[3] = 0.0
    sampled = sample_tokens(logits, temperatures, seeds, window=window)
    logprobs, entropies = token_logprobs(logits, sampled.tokens, temperatures, window=window)
    assert logprobs.tolist() == sampled.logprobs.tolist()
    assert entropies.tolist() == sampled.entropies.tolist()


def test_three_numbers_a_row_are_kept_for_the_backward_pass(sampling_inputs):
    logits, temperatures, _ = sampling_inputs(6, 4000)
    tokens = make_tokens(6, (0, 4000))
    saved = []

    def note(tensor):
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_logprobs(logits.requires_grad_(), tokens, temperatures)
    assert sorted(map(tuple, saved)) == [
        (3, 6),
        (6,),
        (6,),
        (6, 4000),
    ]  # logits, tokens, temperatures as given


def test_zero_rows():
    logits = torch.zeros(0, 256, requires_grad=True)
    logprobs, entropies = token_logprobs(logits, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    (logprobs.sum() + entropies.sum()).backward()
    assert logits.grad is not None
    assert logits.grad.shape == (0, 256)


@pytest.mark.parametrize("through", ["logits", "hidden", "operator", "operator from hidden"])
def test_a_second_derivative_is_an_error_and_not_zero(through):
    hidden, weight = torch.randn(4, 6, requires_grad=True), torch.randn(9, 6, requires_grad=True)
    tokens, temperatures = torch.arange(4), torch.full((4,), 0.7)
    logits = (hidden @ weight.t()).detach().requires_grad_()
    leaf = logits if through in ("logits", "operator") else hidden
    logprobs = {
        "logits": lambda: token_logprobs(logits, tokens, temperatures),
        "hidden": lambda: token_logprobs_from_hidden(hidden, weight, tokens, temperatures),
        "operator": lambda: torch.ops.ttrl_env.token_logprobs(logits, tokens, temperatures, 0, 9),
        "operator from hidden": lambda: torch.ops.ttrl_env.token_logprobs_from_hidden(
            hidden, weight, tokens, temperatures, 0, 9
        ),
    }[through]()[0]
    (gradient,) = torch.autograd.grad(logprobs.sum(), leaf, create_graph=True)
    penalised = logprobs.sum() + gradient.square().sum()
    with pytest.raises(RuntimeError, match=r"differentiable once|no autograd formula"):
        torch.autograd.grad(penalised, leaf)


def test_float64_logits_have_second_derivatives():
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    tokens, temperatures = torch.arange(3), torch.full((3,), 0.7)
    assert torch.autograd.gradgradcheck(lambda z: token_logprobs(z, tokens, temperatures), (logits,))


@pytest.mark.parametrize("temperature", [1e-45, 1e-40, 1.2e-38, 1e-30, 1e30, 3e38])
@pytest.mark.parametrize("path", [by_public_function, by_triton])
def test_gradients_at_extreme_temperatures_are_numbers(path, temperature):
    """1 / T overflows in float32, and infinity times a weight of 0 would be NaN."""
    logits = torch.tensor([[1.0, 3.0, -2.0, 0.0]] * 2, requires_grad=True)
    temperatures = torch.full((2,), temperature)
    logprobs, entropies = path(logits, torch.tensor([1, 0]), temperatures, (0, 4))
    (grad,) = torch.autograd.grad(logprobs[0] + entropies.sum(), logits)
    assert grad.abs().max() < 1e-6  # certain of the most likely token, or indifferent to the logits
