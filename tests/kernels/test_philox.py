"""The generator against the published known answers, on every path."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.kernels.philox import philox_4x32, row_uniforms

ONES = 0xFFFFFFFF

# counter, key, output: from kat_vectors of the Random123 library (philox4x32, 10 rounds)
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
# Seeds and steps that reach every word of key and counter, sign bits included.
SEEDS = [0, 1, -1, 2**32, -(2**63), 2**63 - 1, 0x299F31D0A4093822, 123456789012345]
STEPS = [0, 7, -1, 2**32, 0x05A308D3243F6A88]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_reference_gives_the_published_answers(counter, key, output):
    def tensors(words):
        return tuple(torch.tensor([word]) for word in words)

    words = philox_4x32(tensors(counter), tensors(key))
    assert tuple(int(word) for word in words) == output


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_cpu_path_gives_the_published_answers(counter, key, output):
    import numpy as np

    from ttrl_env.kernels.sampling_cpu import philox_4x32 as compiled

    assert compiled(*(np.uint64(word) for word in (*counter, *key))) == output


def test_uniforms_follow_the_contract():
    chunk, token = row_uniforms(torch.tensor([0]), 0)
    words = KNOWN_ANSWERS[0][2]
    assert chunk.item() == ((words[0] << 32 | words[1]) >> 11) * 2.0**-53
    assert token.item() == ((words[2] << 32 | words[3]) >> 11) * 2.0**-53


@pytest.mark.parametrize("step", STEPS)
def test_cpu_uniforms_equal_the_reference_bit_for_bit(step):
    import numpy as np

    from ttrl_env.kernels.sampling_cpu import row_uniforms as compiled

    chunk, token = row_uniforms(torch.tensor(SEEDS), step)
    got = [compiled(np.int64(seed), np.int64(step)) for seed in SEEDS]
    assert got == list(zip(chunk.tolist(), token.tolist(), strict=True))


def test_uniforms_fill_the_unit_interval_evenly():
    for uniforms in row_uniforms(torch.arange(200_000), 5):
        assert uniforms.min() >= 0
        assert uniforms.max() < 1
        counts = torch.histc(uniforms, bins=100, min=0, max=1)
        chi_squared = ((counts - 2000) ** 2 / 2000).sum()
        assert torch.special.gammaincc(torch.tensor(99 / 2), chi_squared.float() / 2) > 1e-3


def test_chunk_and_token_uniforms_are_uncorrelated_over_seeds_and_steps():
    chunk, token = row_uniforms(torch.arange(100_000), 0)
    next_chunk, _ = row_uniforms(torch.arange(100_000), 1)
    correlations = torch.corrcoef(torch.stack([chunk, token, next_chunk, chunk.roll(1)]))
    off_diagonal = correlations[~torch.eye(4, dtype=torch.bool)]
    assert off_diagonal.abs().max() < 5 / 100_000**0.5
