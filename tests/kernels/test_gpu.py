"""What only a GPU can show: graphs, launches, host synchronisation, very large inputs."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.kernels import SampledTokens, sample_from_hidden, sample_tokens, token_logprobs
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def on_gpu(*tensors):
    return [tensor.cuda() for tensor in tensors]


def count_launches(function):
    """Kernels that a call runs, having checked that it does not wait for the GPU."""
    function()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    return sum(event.device_type.name == "CUDA" for event in profiler.events())


@pytest.mark.parametrize("vocab", [7, 256, 1025, 5000, 32064, 70000])
def test_many_samples_equal_the_cpu_path(sampling_inputs, vocab):
    logits, temperatures, seeds = sampling_inputs(4096 if vocab <= 256 else 1024, vocab, torch.bfloat16)
    want = sample_tokens(logits, temperatures, seeds, 3)
    logits, temperatures, seeds = on_gpu(logits, temperatures, seeds)
    got = sample_tokens(logits, temperatures, seeds, 3)
    assert torch.equal(got.tokens.cpu(), want.tokens)
    torch.testing.assert_close(got.logprobs.cpu(), want.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.entropies.cpu(), want.entropies, atol=1e-5, rtol=1e-5)


# dimensions, window: one launch, dimensions split over programs, a wide window
WAYS_FROM_HIDDEN = [(512, (100, 356)), (4096, (100, 356)), (512, (0, 5000))]


def make_head(rows, dim, dtype=torch.bfloat16):
    """Hidden states, a head of 5,000 tokens, temperatures, seeds; logits have a standard deviation of 2."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, dim, generator=generator).to(dtype)
    weight = (torch.randn(5000, dim, generator=generator) * 2 / dim**0.5).to(dtype)
    return on_gpu(hidden, weight, 0.5 + torch.rand(rows, generator=generator), torch.arange(rows))


@pytest.mark.parametrize(("dim", "window"), WAYS_FROM_HIDDEN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_samples_from_hidden_states_equal_those_from_float64_logits(dim, window, dtype):
    hidden, weight, temperatures, seeds = make_head(448, dim, dtype)
    got = sample_from_hidden(hidden, weight, temperatures, seeds, 3, window=window)
    lo, hi = window
    logits = hidden.double() @ weight[lo:hi].double().t()
    tokens, logprobs, entropies, _ = sample_tokens_reference(logits, temperatures, seeds, 3, None)
    same = got.tokens == tokens + lo
    assert same.sum() >= 445, "more than rounding differs"
    assert got.valid.all()
    torch.testing.assert_close(got.logprobs[same], logprobs.float()[same], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.entropies, entropies.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dim", "window"), WAYS_FROM_HIDDEN)
def test_a_sample_from_hidden_states_does_not_change_with_the_batch(dim, window):
    hidden, weight, temperatures, seeds = make_head(300, dim)
    whole = sample_from_hidden(hidden, weight, temperatures, seeds, window=window)
    for rows in (slice(0, 1), slice(17, 75), slice(150, 300)):
        part = sample_from_hidden(hidden[rows], weight, temperatures[rows], seeds[rows], window=window)
        for name in ("tokens", "logprobs", "entropies"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), name


@pytest.mark.parametrize(("dim", "window"), WAYS_FROM_HIDDEN)
def test_a_captured_graph_samples_anew_from_hidden_states(dim, window):
    hidden, weight, temperatures, seeds = make_head(56, dim)
    step = torch.zeros((), dtype=torch.int64, device="cuda")
    out = SampledTokens.empty(56, "cuda")
    sample_from_hidden(hidden, weight, temperatures, seeds, step, window=window, out=out)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sample_from_hidden(hidden, weight, temperatures, seeds, step, window=window, out=out)
        step += 1
    for expected_step in range(3):
        graph.replay()
        want = sample_from_hidden(hidden, weight, temperatures, seeds, expected_step, window=window)
        assert torch.equal(out.tokens, want.tokens)


@pytest.mark.parametrize(("dim", "window"), WAYS_FROM_HIDDEN)
def test_launches_from_hidden_states(dim, window):
    hidden, weight, temperatures, seeds = make_head(56, dim)
    out = SampledTokens.empty(56, "cuda")
    expected = 1 if dim == 512 and window == (100, 356) else 2
    launches = count_launches(
        lambda: sample_from_hidden(hidden, weight, temperatures, seeds, 1, window=window, out=out)
    )
    assert launches == expected


@pytest.mark.parametrize("vocab", [32064, 151936])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_row_gives_the_same_bits_alone_and_among_many(sampling_inputs, vocab, dtype):
    """Alone a row is split over programs, among many it is one program."""
    logits, temperatures, seeds = on_gpu(*sampling_inputs(1024, vocab, dtype))
    whole = sample_tokens(logits, temperatures, seeds, 3)
    for rows in (slice(0, 1), slice(5, 13), slice(100, 156), slice(500, 948)):
        part = sample_tokens(logits[rows], temperatures[rows], seeds[rows], 3)
        for ours, theirs in zip(part.tensors(), whole.rows(rows).tensors(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("width", [0, 32064])
@pytest.mark.parametrize("vocab", [256, 5000, 32064])
def test_a_captured_graph_samples_anew_as_its_step_advances(sampling_inputs, vocab, width):
    logits, temperatures, seeds = on_gpu(*sampling_inputs(64, vocab))
    step = torch.zeros((), dtype=torch.int64, device="cuda")
    out = SampledTokens.empty(64, "cuda", width)
    sample_tokens(logits, temperatures, seeds, step, out=out)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sample_tokens(logits, temperatures, seeds, step, out=out)
        step += 1
    for expected_step in range(3):
        graph.replay()
        want = sample_tokens(logits, temperatures, seeds, expected_step)
        assert torch.equal(out.tokens, want.tokens)


@pytest.mark.parametrize("window", [None, (31744, 32000)])
def test_one_launch_and_no_waiting_for_the_gpu(sampling_inputs, window):
    logits, temperatures, seeds = on_gpu(*sampling_inputs(64, 32064))
    out = SampledTokens.empty(64, "cuda", width=32064)

    assert count_launches(lambda: sample_tokens(logits, temperatures, seeds, 1, window=window, out=out)) == 1


def test_more_than_two_to_the_31_elements(sampling_inputs):
    rows, vocab = 17, 2**27  # the row stride alone passes 2^31 elements at row 16
    logits = torch.empty(rows, vocab, dtype=torch.bfloat16, device="cuda")
    small, temperatures, seeds = sampling_inputs(rows, 256)
    logits[:, 1000:1256] = small.cuda()
    got = sample_tokens(logits, temperatures.cuda(), seeds.cuda(), window=(1000, 1256))
    want = sample_tokens_reference(small.bfloat16(), temperatures, seeds, 0, None)[0]
    assert torch.equal(got.tokens.cpu(), want + 1000)
    logprobs, _ = token_logprobs(logits, got.tokens, temperatures.cuda(), window=(1000, 1256))
    torch.testing.assert_close(logprobs, got.logprobs, atol=1e-5, rtol=1e-5)


def finite_sum(outputs):
    return torch.cat([output[output.isfinite()] for output in outputs]).sum()


def exact_logprobs(logits, tokens, temperatures):
    """Log-probs, entropies and the gradient of their sum, from float64 logits."""
    logits = logits.detach().double().requires_grad_()
    outputs = token_logprobs(logits, tokens, temperatures)
    return [*outputs, *torch.autograd.grad(finite_sum(outputs), logits)]


@pytest.mark.parametrize("vocab", [7, 256, 8192, 20000, 32064])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("temperatures_a_row", [1, 3])
def test_logprobs_of_any_width_equal_those_of_float64_logits(
    sampling_inputs, vocab, dtype, temperatures_a_row
):
    logits, _, _ = sampling_inputs(96, vocab, dtype)
    logits[3, vocab // 2 :] = -float("inf")  # which has the row summed again, with care
    logits[4, :-1] = -float("inf")
    logits, tokens = on_gpu(logits, torch.arange(96) % vocab)
    tokens[4] = vocab - 1
    temperatures = 0.2 + torch.rand(96, temperatures_a_row, device="cuda")
    logits.requires_grad_()
    outputs = token_logprobs(logits, tokens, temperatures)
    got = [*outputs, *torch.autograd.grad(finite_sum(outputs), logits)]
    columns = [exact_logprobs(logits, tokens, column) for column in temperatures.unbind(1)]
    logprobs, entropies, gradients = zip(*columns, strict=True)
    want = [torch.stack(logprobs, 1), torch.stack(entropies, 1), sum(gradients)]
    for ours, exact, tolerance in zip(got, want, (1e-5, 1e-5, 1e-4), strict=True):
        rounding = 2**-7 if ours.dtype == torch.bfloat16 else 0.0
        torch.testing.assert_close(ours.double(), exact.double(), atol=tolerance, rtol=1e-5 + rounding)


@pytest.mark.parametrize("vocab", [256, 32064])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_each_of_several_temperatures_equals_a_call_of_its_own(sampling_inputs, vocab, dtype):
    logits, _, _ = sampling_inputs(64, vocab, dtype)
    logits, tokens = on_gpu(logits, torch.arange(64))
    temperatures = 0.2 + torch.rand(64, 8, device="cuda")
    temperatures[5, 3] = 0.0
    together = token_logprobs(logits, tokens, temperatures)
    for k, column in enumerate(temperatures.unbind(1)):
        for ours, alone in zip(together, token_logprobs(logits, tokens, column), strict=True):
            assert torch.equal(ours[:, k], alone)
    assert count_launches(lambda: token_logprobs(logits, tokens, temperatures)) == 1


def test_senseless_temperatures_and_tokens_are_marked(sampling_inputs):
    logits, temperatures, seeds = on_gpu(*sampling_inputs(4, 300))
    temperatures[:2] = torch.tensor([-1.0, float("inf")])
    tokens = torch.tensor([5, 5, 400, 5], device="cuda")
    assert sample_tokens(logits, temperatures, seeds).valid.tolist() == [False, False, True, True]
    logprobs, _ = token_logprobs(logits, tokens, temperatures)
    assert logprobs.isfinite().tolist() == [False, False, False, True]


def test_compiles_without_graph_breaks(sampling_inputs):
    hidden, temperatures, seeds = on_gpu(*sampling_inputs(32, 64, torch.bfloat16, scale=1.0))
    weight = torch.randn(512, 64, device="cuda", dtype=torch.bfloat16)

    def rollout(hidden, step):
        return sample_from_hidden(hidden, weight, temperatures, seeds, step, window=(100, 356)).tokens

    step = torch.tensor(4, device="cuda")
    compiled = torch.compile(rollout, fullgraph=True)
    assert torch.equal(compiled(hidden, step), rollout(hidden, step))
