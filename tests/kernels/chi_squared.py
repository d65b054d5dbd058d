"""Pearson's test for samples of tokens."""

from __future__ import annotations

import torch


def probabilities_of(logits, temperature):
    return (logits.double() / temperature).softmax(0)


def chi_squared_p_value(tokens, probabilities):
    """Pearson's test, the rarest tokens pooled into bins of at least 5 expected samples."""
    samples = tokens.numel()
    counts = torch.bincount(tokens, minlength=probabilities.numel()).double()
    order = probabilities.argsort(descending=True)
    expected, counts = probabilities[order] * samples, counts[order]
    # The bin of a token is how many fives its own and all rarer tokens' expectation holds.
    mass_from_below = expected.flip(0).cumsum(0).flip(0)
    pooled = expected < 5
    bins = torch.where(pooled, -(mass_from_below / 5).floor() - 1, torch.arange(order.numel()).double())
    _, bins = bins.unique(return_inverse=True)
    expected = torch.zeros(int(bins.max()) + 1, dtype=torch.float64).index_add_(0, bins, expected)
    counts = torch.zeros_like(expected).index_add_(0, bins, counts)
    keep = expected >= 4
    assert counts[~keep].sum() <= 30 + 3 * expected[~keep].sum(), "samples of next to impossible tokens"
    statistic = ((counts[keep] - expected[keep]) ** 2 / expected[keep]).sum()
    freedom = max(int(keep.sum()) - 1, 1)
    return torch.special.gammaincc(torch.tensor(freedom / 2.0, dtype=torch.float64), statistic / 2).item()
