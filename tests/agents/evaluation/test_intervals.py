from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.evaluation.intervals import paired_difference_interval, wilson_interval


def test_wilson_interval_by_hand() -> None:
    # z = 1.959964: 8 of 10 gives (0.8 + z^2/20) / (1 + z^2/10) -+ ..., Wilson 1927
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.27754), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.72246, 1.0), abs=1e-4)
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(0, 0)


def test_the_paired_interval_is_the_published_one() -> None:
    # airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009): 1 child
    # with it twice, 1 before only, 7 after only, 12 never; Newcombe's method gives -0.507 to -0.026 for
    # before - after (Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, 2850-2875)
    low, high = paired_difference_interval(both=1, gained=7, lost=1, neither=12)
    assert (-high, -low) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_swapping_before_and_after_mirrors_the_interval() -> None:
    low, high = paired_difference_interval(both=5, gained=9, lost=2, neither=14)
    mirrored = paired_difference_interval(both=5, gained=2, lost=9, neither=14)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize("counts", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0), (1, 0, 0, 0)])
def test_degenerate_tables_keep_a_width_and_stay_within_bounds(counts) -> None:
    low, high = paired_difference_interval(*counts)
    assert -1 <= low < high <= 1
    difference = (counts[1] - counts[2]) / sum(counts)
    assert low <= difference <= high


def test_the_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.45, 0.3, 0.05, 0.2])  # both, gained, lost, neither: true difference 0.25
    tables = rng.multinomial(30, chances, size=2000)
    covered = [low <= 0.25 <= high for low, high in (paired_difference_interval(*table) for table in tables)]
    assert 0.93 < np.mean(covered) < 0.99


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, -1, 0, 0)])
def test_counts_must_be_counts(counts) -> None:
    with pytest.raises(ValueError, match="expected counts"):
        paired_difference_interval(*counts)
