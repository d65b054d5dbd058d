"""What only a GPU can show: graphs, launches, host synchronisation, very large inputs."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.kernels import SampledTokens, sample_from_hidden, sample_tokens, token_logprobs
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def on_gpu(*tensors):
    return [tensor.cuda() for tensor in tensors]


@pytest.mark.parametrize("vocab", [256, 32064])
def test_many_draws_equal_the_cpu_path(draw_inputs, vocab):
    inputs = draw_inputs(4096 if vocab == 256 else 1024, vocab, torch.bfloat16)
    want = sample_tokens(*inputs, 3)
    got = sample_tokens(*on_gpu(*inputs), 3)
    assert torch.equal(got.tokens.cpu(), want.tokens)
    torch.testing.assert_close(got.logprobs.cpu(), want.logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.entropies.cpu(), want.entropies, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("vocab", [256, 5000])
def test_a_captured_graph_draws_anew_as_its_step_advances(draw_inputs, vocab):
    logits, temperatures, seeds = on_gpu(*draw_inputs(64, vocab))
    step = torch.zeros((), dtype=torch.int64, device="cuda")
    out = SampledTokens.empty(64, "cuda")
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
def test_one_launch_and_no_waiting_for_the_gpu(draw_inputs, window):
    logits, temperatures, seeds = on_gpu(*draw_inputs(64, 32064))
    out = SampledTokens.empty(64, "cuda")

    def sample():
        sample_tokens(logits, temperatures, seeds, 1, window=window, out=out)

    sample()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sample()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        sample()
        torch.cuda.synchronize()
    launches = [e for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert len(launches) == 1


def test_more_than_two_to_the_31_elements(draw_inputs):
    rows, vocab = 17, 2**27  # the row stride alone passes 2^31 elements at row 16
    logits = torch.empty(rows, vocab, dtype=torch.bfloat16, device="cuda")
    small, temperatures, seeds = draw_inputs(rows, 256)
    logits[:, 1000:1256] = small.cuda()
    got = sample_tokens(logits, temperatures.cuda(), seeds.cuda(), window=(1000, 1256))
    want = sample_tokens_reference(small.bfloat16(), temperatures, seeds, 0, None)[0]
    assert torch.equal(got.tokens.cpu(), want + 1000)
    logprobs, _ = token_logprobs(logits, got.tokens, temperatures.cuda(), window=(1000, 1256))
    torch.testing.assert_close(logprobs, got.logprobs, atol=1e-5, rtol=1e-5)


def test_senseless_temperatures_and_tokens_are_marked(draw_inputs):
    logits, temperatures, seeds = on_gpu(*draw_inputs(4, 300))
    temperatures[:2] = torch.tensor([-1.0, float("inf")])
    tokens = torch.tensor([5, 5, 400, 5], device="cuda")
    assert sample_tokens(logits, temperatures, seeds).valid.tolist() == [False, False, True, True]
    logprobs, _ = token_logprobs(logits, tokens, temperatures)
    assert logprobs.isfinite().tolist() == [False, False, False, True]


def test_compiles_without_graph_breaks(draw_inputs):
    hidden, temperatures, seeds = on_gpu(*draw_inputs(32, 64, torch.bfloat16, scale=1.0))
    weight = torch.randn(512, 64, device="cuda", dtype=torch.bfloat16)

    def rollout(hidden, step):
        return sample_from_hidden(hidden, weight, temperatures, seeds, step, window=(100, 356)).tokens

    step = torch.tensor(4, device="cuda")
    compiled = torch.compile(rollout, fullgraph=True)
    assert torch.equal(compiled(hidden, step), rollout(hidden, step))
