"""Seeds whose samples fall next to the border of two tokens or chunks, and logits that make that hard."""

from __future__ import annotations

import functools

import torch

from ttrl_env.kernels.philox import row_uniforms
from ttrl_env.kernels.sampling_reference import CHUNK


def nearest_to_boundaries(logits, rows):
    """Of a million seeds the ``rows`` whose uniform falls nearest to a border, and what they should pick.

    For ``logits`` ``[vocab]`` at temperature 1: the picked token where they make one chunk, else the chunk.
    """
    cumulative = logits.double().exp().cumsum(0) / logits.double().exp().sum()
    seeds, chunk_uniforms, token_uniforms = million_uniforms()
    if logits.numel() > CHUNK:
        borders, uniforms = cumulative[CHUNK - 1 :: CHUNK].contiguous(), chunk_uniforms
    else:
        borders, uniforms = cumulative, token_uniforms
    right = torch.searchsorted(borders, uniforms, right=True).clamp(max=borders.numel() - 1)
    distances = torch.minimum(borders[right] - uniforms, (uniforms - borders[(right - 1).clamp(min=0)]).abs())
    nearest = distances.abs().topk(rows, largest=False).indices
    assert distances[nearest].abs().max() < 2.0**-19, "no seed is near enough to test anything"
    return seeds[nearest], right[nearest]


@functools.cache
def million_uniforms():
    """A million seeds with their chunk and token uniforms at step 0."""
    seeds = torch.arange(1_000_000)
    return seeds, *row_uniforms(seeds, 0)


def bell(vocab):
    """Logits of a normal distribution."""
    return torch.randn(vocab, generator=torch.Generator().manual_seed(3)) * 2.0


def head_and_plateau(vocab):
    """Two likely tokens, all others so unlikely that a float32 sum forgets them beside those."""
    logits = torch.full((vocab,), -16.0)
    logits[[vocab // 3, vocab // 2]] = 0.0
    return logits
