from __future__ import annotations

import numpy as np
import pytest

from benchmarks.interval_coverage import SEED_SPREAD, STATE_SPREADS, Population, clustered, coverage, pooled
from ttrl_env.agents.evaluation.effective_trials import effective_trials
from ttrl_env.agents.evaluation.intervals import (
    paired_difference_interval,
    success_difference_interval,
    success_interval,
    wilson_interval,
)


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


STATES = [state for state in range(10) for _ in range(3)]


def by_state(*counts: int) -> list[bool]:
    """Three episodes from each of ten states, of which so many succeed."""
    return [repeat < count for count in counts for repeat in range(3)]


def test_trials_are_worked_by_hand() -> None:
    # deviations +-1/2 from the mean of 4 states with 2 episodes, sums -1, 0, 0, 1:
    # x = 4/3 * 2 / 2 - 8/7 = 0.190476; t with 3 degrees of freedom is 3.182446, z is 1.959964
    outcomes, states = [0, 0, 0, 1, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3]
    of_states = 0.190476 * (3.182446 / 1.959964) ** 2
    assert effective_trials(outcomes, [states]) == pytest.approx(8 / (1 + of_states), rel=1e-5)
    seeds = [0, 0, 1, 1, 0, 2, 2, 2]  # sums -3/2, 0, 3/2: x = 3/2 * 4.5 / 2 - 8/7 = 2.232143; t is 4.302653
    of_seeds = 2.232143 * (4.302653 / 1.959964) ** 2
    assert 8 / (1 + of_states + of_seeds) < 3 == effective_trials(outcomes, [states, seeds])
    ten = effective_trials(outcomes * 10, [states * 10, seeds * 10])
    assert ten == 3  # episodes without end from three seeds are worth at least three


def test_one_episode_a_state_gives_the_intervals_of_independent_ones() -> None:
    before, after = [False] * 6 + [True] * 4, [False] * 3 + [True] * 6 + [False]
    states = [(task, state) for task in (0, 1) for state in range(5)]
    assert success_interval(before, states) == pytest.approx(wilson_interval(4, 10))
    paired = success_difference_interval(before, after, states)
    assert paired == pytest.approx(paired_difference_interval(both=3, gained=3, lost=1, neither=3))


def test_repeats_that_all_agree_count_once() -> None:
    outcomes = by_state(3, 3, 0, 3, 0, 0, 3, 3, 3, 3)
    assert success_interval(outcomes, STATES) == pytest.approx(wilson_interval(7, 10))
    never = [False] * 30
    paired = success_difference_interval(never, outcomes, STATES)
    assert paired == pytest.approx(paired_difference_interval(both=0, gained=7, lost=0, neither=3))


def test_states_that_differ_widen_the_interval() -> None:
    alike = success_interval(by_state(1, 2, 1, 2, 1, 2, 1, 2, 1, 2), STATES)
    assert alike == pytest.approx(wilson_interval(15, 30))
    low, high = success_interval(by_state(3, 3, 0, 2, 3, 0, 0, 1, 0, 3), STATES)
    assert high - low > 1.4 * (alike[1] - alike[0])


@pytest.mark.parametrize("success", [False, True])
def test_equal_outcomes_count_once_a_state(success) -> None:
    seeds = [0, 1, 2] * 10
    expected = wilson_interval(10 * success, 10)
    assert success_interval([success] * 30, STATES) == pytest.approx(expected)
    assert success_interval([success] * 30, STATES, seeds) == pytest.approx(expected)


def test_what_a_state_does_to_both_sides_cancels() -> None:
    before, after = by_state(3, 3, 0, 0, 3, 0, 0, 1, 0, 3), by_state(3, 3, 0, 1, 3, 1, 0, 1, 0, 3)
    low, high = success_difference_interval(before, after, STATES)
    width = np.diff(success_interval(before, STATES))[0]
    assert high - low < 0.6 * width


def test_names_and_order_of_clusters_do_not_matter() -> None:
    outcomes, order = by_state(3, 3, 0, 2, 3, 0, 0, 1, 0, 3), np.random.default_rng(0).permutation(30)
    mixed = success_interval([outcomes[k] for k in order], [f"state {STATES[k]}" for k in order])
    assert mixed == pytest.approx(success_interval(outcomes, STATES))


def test_a_single_seed_says_nothing_of_others() -> None:
    outcomes = by_state(3, 3, 0, 2, 3, 0, 0, 1, 0, 3)
    assert success_interval(outcomes, STATES, [7] * 30) == success_interval(outcomes, STATES)
    assert success_interval([True], ["state"], ["seed"]) == pytest.approx(wilson_interval(1, 1))


def test_each_outcome_has_a_label() -> None:
    with pytest.raises(ValueError, match="expected 3 labels, one for each outcome, got 2"):
        success_interval([True, False, True], [0, 1])
    with pytest.raises(ValueError, match="outcomes: expected at least one"):
        success_interval([], [])


@pytest.mark.parametrize(("seeds", "states", "repeats"), [(1, 10, 3), (1, 10, 5), (3, 10, 4), (5, 10, 4)])
def test_intervals_of_clusters_cover_the_truth_where_pooled_ones_do_not(seeds, states, repeats) -> None:
    population = Population(rate=0.6, state_spread=STATE_SPREADS[-1], seed_spread=SEED_SPREAD * (seeds > 1))
    drawn = population.experiments(500, seeds, states, repeats, np.random.default_rng(0))
    assert 0.92 < coverage(clustered, population, drawn) < 0.99
    assert coverage(pooled, population, drawn) < 0.9


def test_intervals_of_clusters_cover_differences_of_pairs() -> None:
    rng, states = np.random.default_rng(0), np.repeat(np.arange(10), 4).tolist()
    covered = []
    for _ in range(500):  # from each state success is uniform before, and its square root after: 1/2 and 2/3
        chances = np.repeat(rng.random(10), 4)
        before, after = rng.random(40) < chances, rng.random(40) < np.sqrt(chances)
        low, high = success_difference_interval(before.tolist(), after.tolist(), states)
        covered.append(low <= 2 / 3 - 1 / 2 <= high)
    assert 0.92 < np.mean(covered) < 0.99
