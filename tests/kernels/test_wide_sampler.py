"""Sampling from more than one chunk in Triton: rows split over programs, rows that are summed with care."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.sampling_paths import HAS_GPU, make_inputs, poisoned, sample_by_reference
from ttrl_env.kernels import SampledTokens, sample_tokens
from ttrl_env.kernels.sampling_types import SamplingInputs

wide = pytest.importorskip("ttrl_env.kernels.sampling_wide_triton")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::RuntimeWarning")]  # the interpreter

DEVICE = "cuda" if HAS_GPU else "cpu"


def sample_split(logits, temperatures, seeds, splits, out=None):
    out = poisoned(len(logits), DEVICE) if out is None else out
    inputs = SamplingInputs(temperatures.to(DEVICE), seeds.to(DEVICE), 3, None)
    wide.launch_sample_wide_logits(logits.to(DEVICE), inputs, 0, out, splits)
    return [each.cpu() for each in out.tensors()]


def assert_equals_reference(got, logits, temperatures, seeds):
    want = sample_by_reference(logits, temperatures, seeds, 3)
    tokens, logprobs, entropies, valid = got
    assert tokens.tolist() == want.tokens.tolist()
    assert valid.tolist() == want.valid.tolist()
    torch.testing.assert_close(logprobs, want.logprobs, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(entropies, want.entropies, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize(("vocab", "splits"), [(1025, [5]), (9000, [2, 3])])
def test_every_split_of_a_row_gives_the_same_bits(vocab, splits):
    logits, temperatures, seeds = make_inputs(5, vocab, torch.bfloat16)
    logits[1, ::2] = -torch.inf
    logits[2, vocab // 2] = torch.nan
    temperatures[3] = 0.0
    whole = sample_split(logits, temperatures, seeds, 1)
    assert_equals_reference(whole, logits, temperatures, seeds)
    for count in splits:
        for ours, theirs in zip(sample_split(logits, temperatures, seeds, count), whole, strict=True):
            assert torch.equal(ours, theirs)


def test_rows_whose_exponents_are_not_usual_equal_the_reference():
    logits, temperatures, seeds = make_inputs(6, 4100)
    logits[0, 100:] = -torch.inf  # all but the first chunk is masked
    logits[1, :4096] = -torch.inf  # all but the last
    logits[2] += 1e6  # the maximum over the temperature is far beyond what float32 resolves
    temperatures[2] = 0.01
    temperatures[3] = 1e-38  # and here beyond what it holds
    logits[4] = logits[4] * 1e30
    logits[5] -= 300.0
    assert_equals_reference(sample_split(logits, temperatures, seeds, 2), logits, temperatures, seeds)


def test_an_out_with_scratch_serves_call_after_call():
    logits, temperatures, seeds = make_inputs(3, 5000)
    want = sample_split(logits, temperatures, seeds, 1)
    out = SampledTokens.empty(3, DEVICE, width=5000)
    assert out.scratch is not None
    assert out.arrivals is not None
    for _ in range(2):
        out.scratch.fill_(torch.nan)
        for ours, theirs in zip(sample_split(logits, temperatures, seeds, 2, out), want, strict=True):
            assert torch.equal(ours, theirs)
        assert out.arrivals.tolist() == [0] * 3
    narrow = SampledTokens.empty(3, DEVICE, width=1025)
    for ours, theirs in zip(sample_split(logits, temperatures, seeds, 2, narrow), want, strict=True):
        assert torch.equal(ours, theirs)


def test_the_cpu_takes_an_out_with_scratch_and_names_a_wrong_one():
    logits, temperatures, seeds = make_inputs(3, 64)
    out = SampledTokens.empty(3, width=64)
    assert torch.equal(
        sample_tokens(logits, temperatures, seeds, out=out).tokens,
        sample_tokens(logits, temperatures, seeds).tokens,
    )
    wrong = SampledTokens(**{**vars(out), "arrivals": torch.zeros(3)})
    with pytest.raises(TypeError, match=r"out.arrivals: expected torch.int32"):
        sample_tokens(logits, temperatures, seeds, out=wrong)
    wrong = SampledTokens(**{**vars(out), "scratch": torch.zeros(2, 16)})
    with pytest.raises(ValueError, match=r"out.scratch: expected a contiguous float32 tensor \[3, n\]"):
        sample_tokens(logits, temperatures, seeds, out=wrong)


@pytest.mark.parametrize(
    ("rows", "width", "splits"), [(8, 32064, 8), (56, 128256, 9), (448, 32064, 1), (4096, 2000, 1)]
)
def test_few_rows_are_split_over_programs(monkeypatch, rows, width, splits):
    monkeypatch.setattr(wide, "_multiprocessors", lambda _device: 132)
    assert wide.choose_splits(rows, width, torch.device("cuda")) == splits
