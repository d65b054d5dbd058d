from __future__ import annotations

import pytest
import torch

from tests.agents.policies.openvla_inputs import INSTRUCTIONS, load, observations

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

TEMPERATURES = torch.tensor([1.6, 0.7, 0.25])


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16", "lora_rank": 4}, {"autocast": True}])
def test_a_gpu_computes_what_the_cpu_does(checkpoint, decoding, options) -> None:
    on_cpu, on_gpu = load(checkpoint, decoding, **options), load(checkpoint, decoding, **options).cuda()
    inputs = on_cpu.prepare(observations(3), INSTRUCTIONS)
    count = on_cpu.chunk_steps * 7
    sampled = on_gpu.sample(inputs, TEMPERATURES, torch.arange(3 * count).view(3, count))
    assert sampled.tokens.is_cuda
    assert sampled.valid.all()
    evaluated = on_gpu.evaluate(inputs, sampled.tokens, TEMPERATURES)
    expected = on_cpu.evaluate(inputs, sampled.tokens.cpu(), TEMPERATURES)
    exact = not options
    tolerance = 1e-3 if exact else 0.5
    assert (evaluated.logprobs.cpu() - expected.logprobs).abs().mean() < tolerance
    assert (evaluated.logprobs - sampled.logprobs).abs().mean() < (1e-5 if exact else 0.1)
    evaluated.logprobs.sum().backward()
    for name, parameter in on_gpu.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_compiled_blocks_compute_the_same(checkpoint) -> None:
    plain = load(checkpoint, lora_rank=4, dtype="float32").cuda()
    compiled = load(checkpoint, lora_rank=4, dtype="float32", compile=True).cuda()
    for rows in (3, 2):  # another number of rows compiles once more
        inputs = plain.prepare(observations(rows), INSTRUCTIONS[:rows])
        tokens = torch.randint(256, (rows, plain.chunk_steps * 7))
        want = plain.evaluate(inputs, tokens, TEMPERATURES[:rows]).logprobs
        got = compiled.evaluate(inputs, tokens, TEMPERATURES[:rows]).logprobs
        torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
        for policy, logprobs in ((plain, want), (compiled, got)):
            policy.zero_grad()
            logprobs.sum().backward()
        for (name, expected), parameter in zip(plain.named_parameters(), compiled.parameters(), strict=True):
            if expected.requires_grad:
                assert parameter.grad is not None
                assert expected.grad is not None
                assert (parameter.grad - expected.grad).norm() < 0.01 * expected.grad.norm() + 1e-6, name
