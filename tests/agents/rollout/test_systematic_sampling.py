"""A fixed number of draws, every item as often as its weight asks for and never above its limit."""

from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.rollout.systematic_sampling import expected_counts, systematic_sample


def _ones(count: int) -> np.ndarray:
    return np.ones(count, dtype=np.int64)


def test_what_a_limit_cuts_off_goes_to_the_others_in_proportion() -> None:
    counts = expected_counts(np.array([5.0, 2.0, 2.0, 1.0]), _ones(4), 3)
    assert counts == pytest.approx([1.0, 0.8, 0.8, 0.4])  # not 1.5, 0.6, 0.6, 0.3
    assert expected_counts(np.array([1.0, 1.0, 2.0]), np.array([0, 3, 3]), 3) == pytest.approx([0, 1, 2])
    assert expected_counts(np.array([1.0, 9.0]), np.array([2, 2]), 4).tolist() == [2, 2]
    assert expected_counts(np.array([1.0, 9.0, 9.0]), np.array([0, 1, 1]), 2).tolist() == [0, 1, 1]


def test_an_item_comes_in_its_share_of_the_samples() -> None:
    counts, rng = np.array([1.0, 0.8, 0.8, 0.4]), np.random.default_rng(0)
    samples = [systematic_sample(counts, _ones(4), 3, rng) for _ in range(1000)]
    assert np.bincount(np.concatenate(samples)) / 1000 == pytest.approx(counts, abs=0.06)  # 4 deviations


def test_counts_are_rounded_up_or_down_of_items_and_of_strata() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        limits = rng.integers(0, 4, size=rng.integers(1, 60))
        total = int(rng.integers(1, limits.sum() + 1)) if limits.sum() else 0
        counts = expected_counts(rng.random(len(limits)) ** 8 + 1e-9, limits, total)
        assert counts.sum() == pytest.approx(total)
        sample = systematic_sample(counts, limits, total, rng)
        times = np.bincount(sample, minlength=len(limits))
        assert len(sample) == total
        assert (times <= limits).all()
        assert (np.abs(times - counts) < 1 + 1e-6).all()
        assert (np.abs(np.cumsum(times) - np.cumsum(counts)) < 1 + 1e-6).all()


def test_rounding_does_not_draw_an_item_twice() -> None:
    """Counts a little above their limits, as sums of floating-point numbers are."""
    counts = np.full(10, 1 + 1e-9)
    for seed in range(20):
        sample = systematic_sample(counts, _ones(10), 10, np.random.default_rng(seed))
        assert sample.tolist() == list(range(10))
