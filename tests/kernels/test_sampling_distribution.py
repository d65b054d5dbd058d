"""Do samples follow the distribution? Chi-squared and tail tests, and samples on the edge of two tokens.

Every test has fixed seeds, so it passes or fails for good. The CPU path makes the many samples; that the
other paths sample the same tokens is tested beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.kernels.boundaries import bell, head_and_plateau, nearest_to_boundaries
from tests.kernels.chi_squared import chi_squared_p_value, probabilities_of
from ttrl_env.kernels import sample_tokens
from ttrl_env.kernels.sampling_reference import CHUNK

pytestmark = pytest.mark.slow  # many draws, some by Triton's interpreter

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def sample_many(logits, temperature, samples, step=0, first_seed=0):
    seeds = torch.arange(first_seed, first_seed + samples)
    temperatures = torch.full((samples,), temperature)
    return sample_tokens(logits.expand(samples, -1), temperatures, seeds, step).tokens


@pytest.mark.parametrize("vocab", [1, 2, 63, 255, 256, 257, 3000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_samples_follow_the_tempered_softmax(vocab, dtype, temperature):
    generator = torch.Generator().manual_seed(vocab)
    logits = (torch.randn(vocab, generator=generator) * 1.5).to(dtype)
    samples = 100_000 if vocab < 1000 else 20_000
    tokens = sample_many(logits, temperature, samples, step=vocab)
    p_value = chi_squared_p_value(tokens, probabilities_of(logits, temperature))
    assert p_value > 1e-4, f"p = {p_value}: biased samples (temperature, chunk borders or the generator)"


@pytest.mark.parametrize(
    ("dtype", "temperature", "samples"),
    [(torch.float32, 1.0, 60_000), (torch.bfloat16, 0.6, 10_000), (torch.float16, 1.5, 10_000)],
    ids=str,
)
def test_samples_follow_the_softmax_over_a_whole_language_vocabulary(dtype, temperature, samples):
    logits = (torch.randn(32064, generator=torch.Generator().manual_seed(0)) * 2.0).to(dtype)
    tokens = sample_many(logits, temperature, samples)
    assert chi_squared_p_value(tokens, probabilities_of(logits, temperature)) > 1e-4


def test_steps_of_one_seed_are_independent_samples():
    logits = torch.randn(16, generator=torch.Generator().manual_seed(1))
    seeds = torch.full((1,), 1234)
    tokens = torch.cat(
        [sample_tokens(logits[None], torch.ones(1), seeds, step).tokens for step in range(5000)]
    )
    assert chi_squared_p_value(tokens, probabilities_of(logits, 1.0)) > 1e-4
    pairs = tokens[:-1:2] * 16 + tokens[1::2]
    both = (probabilities_of(logits, 1.0)[:, None] * probabilities_of(logits, 1.0)).flatten()
    assert chi_squared_p_value(pairs, both) > 1e-4


def test_the_chi_squared_test_can_fail():
    logits = torch.randn(256, generator=torch.Generator().manual_seed(2))
    tokens = sample_many(logits, 1.0, 100_000)
    assert chi_squared_p_value(tokens, probabilities_of(logits, 1.06)) < 1e-4


@pytest.mark.parametrize("gap", [14.0, 18.0])
def test_the_tail_keeps_its_mass(gap):
    logits = torch.full((32064,), -gap)
    logits[17] = 0.0
    samples = 40_000
    tail = 1 - probabilities_of(logits, 1.0)[17].item()
    sampled = (sample_many(logits, 1.0, samples, step=3) != 17).sum().item()
    assert abs(sampled - samples * tail) < 4 * (samples * tail) ** 0.5 + 1


@pytest.mark.parametrize(("vocab", "rows"), [(256, 20), (CHUNK, 10), (CHUNK * 20, 10)])
@pytest.mark.parametrize("make_logits", [bell, head_and_plateau])
def test_samples_next_to_a_boundary_take_the_same_token_on_every_path(sample, make_logits, vocab, rows):
    """Of a million seeds, those whose uniform falls nearest to the border between two tokens or chunks."""
    logits = make_logits(vocab)
    seeds, picked = nearest_to_boundaries(logits, rows)
    got = sample(logits.expand(rows, -1), torch.ones(rows), seeds)
    assert (got.tokens // CHUNK if vocab > CHUNK else got.tokens).tolist() == picked.tolist()


GAPS = [0.01, 1.0, 3.0, 6.0, 9.0, 12.0, 14.238, 15.0, 16.0, 17.0, 18.0, 20.0]


@pytest.mark.parametrize("vocab", [CHUNK, 32064])
@pytest.mark.parametrize("gap", GAPS)
def test_float32_sums_on_the_cpu_stay_inside_the_margin(vocab, gap):
    """Head and plateau is the worst case for them; the sample is decided in float64 within the margin."""
    for heads in ([vocab // 3, vocab // 2], [0], [0, 1]):
        check_float32_sums(vocab, gap, heads)


def test_float32_sums_stay_inside_the_margin_without_vector_instructions():
    """Fewer lanes each sum more weights one after the other: the worst that a processor can do."""
    code = (
        "from tests.kernels.test_sampling_distribution import GAPS, check_float32_sums\n"
        "[check_float32_sums(1024, gap, heads) for gap in GAPS for heads in ([0], [0, 1], [341, 512])]\n"
        "print('all inside')"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.strip() == "all inside", done.stderr


def check_float32_sums(vocab, gap, heads):
    """Raise unless every running sum of a row of heads and plateau is inside half the margin."""
    import numpy as np

    from ttrl_env.kernels import row_sums_cpu, sampling_cpu

    row = np.full(vocab, -gap, np.float32)
    row[heads] = 0.0
    scales, maxima, sums, weights, _ = row_sums_cpu.make_scratch(vocab, 1)
    scales[0] = row_sums_cpu.LOG2_E
    maximum = row_sums_cpu.sum_chunks(row, row.view(np.int32), scales, maxima, sums, weights)
    total, _ = row_sums_cpu.sum_row(0, scales[0], maximum, maxima, sums)
    exact = np.exp(row.astype(np.float64))
    chunks = sums[0, 0] * np.exp(maxima.astype(np.float64))
    exact_chunks = np.add.reduceat(exact, np.arange(0, vocab, CHUNK))
    error = np.abs(chunks.cumsum() / total - exact_chunks.cumsum() / exact.sum()).max()
    assert error < sampling_cpu.MARGIN / 2

    chunk = heads[0] // CHUNK
    tokens = row[chunk * CHUNK : (chunk + 1) * CHUNK]
    chunk_total, _ = row_sums_cpu.sum_chunk(tokens, maxima[chunk], scales[0], weights)
    cumulative = weights.astype(np.float64).cumsum() / chunk_total
    exact_cumulative = exact[chunk * CHUNK : (chunk + 1) * CHUNK].cumsum() / exact_chunks[chunk]
    assert np.abs(cumulative - exact_cumulative).max() < sampling_cpu.MARGIN / 2
