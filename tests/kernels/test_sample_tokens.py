"""Every path gives the reference's tokens, log-probs and entropies, on ordinary and on broken rows."""

from __future__ import annotations

import os

import pytest
import torch

from ttrl_env.kernels import SampledTokens, sample_tokens
from ttrl_env.kernels.sampling_reference import sample_tokens_reference

pytestmark = pytest.mark.slow  # Triton's interpreter

VOCABULARIES = [1, 2, 63, 255, 256, 257, 1024, 1025, 3000, 32064]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def assert_equals_reference(got, logits, temperatures, seeds, step=0, window=None, greedy=None):
    lo, hi = window or (0, logits.shape[1])
    tokens, logprobs, entropies, valid = sample_tokens_reference(
        logits[:, lo:hi], temperatures, seeds, step, greedy
    )
    assert got.tokens.tolist() == (tokens + lo).tolist()
    assert got.valid.tolist() == valid.tolist()
    torch.testing.assert_close(got.logprobs.double(), logprobs, atol=3e-6, rtol=3e-6)
    torch.testing.assert_close(got.entropies.double(), entropies, atol=3e-6, rtol=3e-6)


@pytest.mark.parametrize("vocab", VOCABULARIES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_path_samples_the_token_of_the_reference(sample, sampling_inputs, vocab, dtype):
    logits, temperatures, seeds = sampling_inputs(8, vocab, dtype, seed=vocab)
    step = {torch.float32: 0, torch.bfloat16: 2**40 + 5, torch.float16: -1}[dtype]
    got = sample(logits, temperatures, seeds, step)
    assert_equals_reference(got, logits, temperatures, seeds, step)


@pytest.mark.parametrize("vocab", [5, 256, 2100, 20000])
def test_broken_rows_are_marked_and_leave_their_neighbours_alone(sample, sampling_inputs, vocab):
    logits, temperatures, seeds = sampling_inputs(12, vocab, seed=1)
    logits[1] = float("nan")
    logits[3, vocab // 2] = float("nan")
    logits[5] = -torch.inf
    logits[7, 0] = torch.inf
    logits[9, ::2] = -torch.inf
    greedy = torch.arange(12) == 3
    got = sample(logits, temperatures, seeds, greedy=greedy)
    assert_equals_reference(got, logits, temperatures, seeds, greedy=greedy)
    assert got.valid.tolist() == [row not in (1, 3, 5, 7) for row in range(12)]
    assert got.tokens[~got.valid].tolist() == [0] * 4
    assert (got.logprobs[~got.valid] == -torch.inf).all()
    assert (got.entropies[~got.valid] == 0).all()


def test_broken_rows_get_the_first_token_of_the_window(sample):
    logits = torch.full((2, 10), float("nan"))
    got = sample(logits, torch.ones(2), torch.arange(2), window=(4, 9))
    assert got.tokens.tolist() == [4, 4]


@pytest.mark.parametrize("vocab", [7, 256, 5000, 20000])
def test_greedy_rows_take_the_first_of_the_best(sample, sampling_inputs, vocab):
    logits, temperatures, seeds = sampling_inputs(8, vocab, seed=2)
    best = [vocab // 3 + row % 2 for row in range(8)]
    for row, token in enumerate(best):
        logits[row, token] = logits[row, -1] = 50.0
    temperatures[::2] = 0.0
    got = sample(logits, temperatures, seeds, greedy=torch.arange(8) % 2 == 1)
    assert got.tokens.tolist() == best
    assert got.logprobs.tolist() == [0.0] * 8
    assert got.entropies.tolist() == [0.0] * 8


@pytest.mark.parametrize("window", [(0, 1), (3, 4), (31744, 32000), (1, 2000), (0, 32064)])
def test_window_equals_sampling_the_slice(sample, sampling_inputs, window):
    logits, temperatures, seeds = sampling_inputs(6, 32064, torch.bfloat16, seed=3)
    lo, hi = window
    got = sample(logits, temperatures, seeds, 9, window=window)
    assert_equals_reference(got, logits, temperatures, seeds, 9, window=window)
    sliced = sample(logits[:, lo:hi].contiguous(), temperatures, seeds, 9)
    assert got.tokens.tolist() == (sliced.tokens + lo).tolist()
    assert got.logprobs.tolist() == sliced.logprobs.tolist()


def test_logits_outside_the_window_are_never_read(sample, sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(4, 600, seed=4)
    want = sample(logits, temperatures, seeds, window=(100, 300))
    logits[:, :100] = float("nan")
    logits[:, 300:] = torch.inf
    got = sample(logits, temperatures, seeds, window=(100, 300))
    assert got.valid.all()
    assert got.tokens.tolist() == want.tokens.tolist()


@pytest.mark.parametrize("vocab", [300, 2500])
def test_any_strides(sample, sampling_inputs, vocab):
    logits, temperatures, seeds = sampling_inputs(6, vocab, seed=5)
    want = sample(logits, temperatures, seeds)
    spaced = torch.full((12, 3 * vocab), float("nan"))[::2, ::3]
    spaced.copy_(logits)
    transposed = logits.t().contiguous().t()
    repeated = torch.full((6, 2), float("nan"))
    repeated[:, 0] = temperatures
    for strided in (spaced, transposed):
        assert sample(strided, repeated[:, 0], seeds).tokens.tolist() == want.tokens.tolist()
    expanded = logits[:1].expand(6, -1)
    assert sample(expanded, temperatures, seeds).valid.all()


def test_extreme_logits_and_temperatures(sample):
    logits = torch.tensor([[-3e38, 3e38, 0.0], [-1e4, -1e4, -1e4], [1e-30, 0.0, -1e-30], [5.0, 4.0, 3.0]])
    temperatures = torch.tensor([1.0, 1e-3, 1e-38, 1e30])
    seeds = torch.arange(4)
    got = sample(logits, temperatures, seeds)
    assert got.valid.all()
    assert got.tokens[0] == 1
    torch.testing.assert_close(
        got.entropies, torch.tensor([0.0, 3.0, 0.0, 3.0]).clamp(min=1).log(), atol=1e-6, rtol=0
    )


def test_step_in_a_tensor_equals_step_as_an_int(sample, sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(5, 256, seed=6)
    for step in (0, 1, 2**33):
        as_int = sample(logits, temperatures, seeds, step)
        as_tensor = sample(logits, temperatures, seeds, torch.tensor(step))
        assert as_int.tokens.tolist() == as_tensor.tokens.tolist()


def test_a_sample_depends_only_on_its_own_row(sample, sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(12, 1500, seed=7)
    whole = sample(logits, temperatures, seeds, 3)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = sample(logits[order], temperatures[order], seeds[order], 3)
    assert shuffled.tokens.tolist() == whole.tokens[order].tolist()
    assert shuffled.logprobs.tolist() == whole.logprobs[order].tolist()
    single = sample(logits[5:6], temperatures[5:6], seeds[5:6], 3)
    assert single.tokens.tolist() == whole.tokens[5:6].tolist()
    assert single.logprobs.tolist() == whole.logprobs[5:6].tolist()


def test_seed_and_step_both_change_the_sample(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(64, 256, seed=8)
    temperatures[:] = 3.0
    tokens = sample_tokens(logits, temperatures, seeds, 0).tokens
    assert (sample_tokens(logits, temperatures, seeds, 1).tokens != tokens).float().mean() > 0.9
    assert (sample_tokens(logits, temperatures, seeds + 1, 0).tokens != tokens).float().mean() > 0.9
    assert (sample_tokens(logits, temperatures, seeds + 2**32, 0).tokens != tokens).float().mean() > 0.9
    assert (sample_tokens(logits, temperatures, seeds, 2**32).tokens != tokens).float().mean() > 0.9
    assert torch.equal(sample_tokens(logits, temperatures, seeds, 0).tokens, tokens)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("vocab", [256, 5000])
def test_results_do_not_come_from_uninitialised_memory(sample, sampling_inputs, vocab):
    assert torch.empty(1).isnan().all(), "the memory is not poisoned"
    logits, temperatures, seeds = sampling_inputs(5, vocab + 3, torch.bfloat16, seed=11)
    got = sample(logits, temperatures, seeds, window=(3, vocab))
    assert_equals_reference(got, logits, temperatures, seeds, window=(3, vocab))


def test_zero_rows():
    got = sample_tokens(torch.zeros(0, 256), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert [t.shape for t in (got.tokens, got.logprobs, got.entropies, got.valid)] == [(0,)] * 4


def test_out_is_filled_and_returned(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(5, 256, seed=9)
    out = SampledTokens.empty(5)
    assert sample_tokens(logits, temperatures, seeds, out=out) is out
    assert out.tokens.tolist() == sample_tokens(logits, temperatures, seeds).tokens.tolist()


def test_logits_that_require_grad_are_only_read(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(3, 256)
    got = sample_tokens(logits.requires_grad_(), temperatures, seeds)
    assert not got.logprobs.requires_grad


def test_many_rows_are_shared_among_threads_and_a_forked_child_can_sample_too(sampling_inputs):
    logits, temperatures, seeds = sampling_inputs(1500, 256, seed=10)
    want = sample_tokens(logits, temperatures, seeds).tokens
    assert want[700:].tolist() == sample_tokens(logits[700:], temperatures[700:], seeds[700:]).tokens.tolist()
    child = os.fork()
    if child == 0:  # has the parent's thread pool, but none of its threads
        same = sample_tokens(logits, temperatures, seeds).tokens.tolist() == want.tolist()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
