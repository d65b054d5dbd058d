"""Rows and tokens more than 2^31 elements apart. Of the memory only the pages that are touched are real."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.sampling_paths import HAS_GPU, make_inputs
from tests.kernels.test_hidden_kernels import make_integers, sample_from_hidden_by_triton
from tests.kernels.test_token_logprobs import by_reference, gradient
from ttrl_env.kernels import sample_from_hidden, token_logprobs

pytestmark = pytest.mark.skipif(HAS_GPU, reason="test_gpu.py does it in the GPU's memory")

FAR = 2**31 + 2**10
STRIDES = {"rows": (FAR // 2, 1), "tokens": (1, FAR // 255 + 1)}
"""Of three rows of 256 the last row, or the last token, lies beyond what 32 bits address; strides do not."""


def far_apart(values, strides):
    """The same values as a bfloat16 tensor with such strides."""
    memory = torch.empty(FAR + 2**16, dtype=torch.bfloat16)
    return memory.as_strided(values.shape, strides).copy_(values)


@pytest.mark.parametrize("apart", STRIDES)
def test_sampling(sample, apart):
    logits, temperatures, seeds = make_inputs(3, 256, torch.bfloat16)
    want = sample(logits, temperatures, seeds)
    got = sample(far_apart(logits, STRIDES[apart]), temperatures, seeds)
    assert got.tokens.tolist() == want.tokens.tolist()
    assert got.logprobs.tolist() == want.logprobs.tolist()


def test_sampling_many_chunks(sample):
    logits, temperatures, seeds = make_inputs(3, 3000, torch.bfloat16)
    apart = far_apart(logits, STRIDES["rows"])
    assert (
        sample(apart, temperatures, seeds).tokens.tolist()
        == sample(logits, temperatures, seeds).tokens.tolist()
    )


@pytest.mark.parametrize("apart", STRIDES)
def test_logprobs_and_their_gradient(apart):
    logits, temperatures, _ = make_inputs(3, 256, torch.bfloat16)
    temperatures = torch.stack([temperatures, temperatures + 0.5], dim=1)
    tokens, window, grads = torch.tensor([3, 250, 0]), (0, 256), torch.ones(2, 3, 2)
    far = far_apart(logits, STRIDES[apart])
    want = by_reference(logits, tokens, temperatures, window)
    got = token_logprobs(far, tokens, temperatures)
    torch.testing.assert_close(torch.stack(got).double(), torch.stack(want), atol=3e-6, rtol=3e-6)
    want_grad = gradient(by_reference, logits.double(), tokens, temperatures, window, grads)

    launchers = pytest.importorskip("ttrl_env.kernels.logprobs_triton")
    logprobs, entropies = torch.full((2, 3, 2), float("nan"))
    kept = torch.full((3, 3, 2), float("nan"))
    launchers.launch_forward(far, tokens, temperatures, 0, logprobs, entropies, kept)
    torch.testing.assert_close(logprobs.double(), want[0], atol=3e-6, rtol=3e-6)
    grad_logits = far_apart(torch.full((3, 256), float("nan")), STRIDES["rows"])
    launchers.launch_backward(far, tokens, temperatures, 0, kept, *grads, grad_logits)
    torch.testing.assert_close(grad_logits.double(), want_grad, atol=3e-6, rtol=1.6e-2)


@pytest.mark.parametrize(("dim", "width"), [(8, 3), (8, 256), (1100, 256), (8, 257)])
@pytest.mark.parametrize("which", ["hidden", "head"])
def test_sampling_from_hidden(which, dim, width):
    hidden, weight, temperatures, seeds = make_integers(3, dim, width, torch.bfloat16)
    want = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    if which == "hidden":
        hidden = far_apart(hidden, STRIDES["rows"])
    else:
        weight = far_apart(weight, (FAR // (width - 1) + 1, 1))
    got = sample_from_hidden_by_triton(hidden, weight, temperatures, seeds)
    assert got.tokens.tolist() == want.tokens.tolist()
    on_cpu = sample_from_hidden(hidden, weight, temperatures, seeds)
    assert on_cpu.tokens.tolist() == want.tokens.tolist()
