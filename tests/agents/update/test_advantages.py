from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.rollout.types import groups_with_spread
from ttrl_env.agents.update.advantages import group_advantage
from ttrl_env.rewards import efficiency_reward


def test_advantage_is_the_deviation_from_the_group_in_unbiased_standard_deviations() -> None:
    # group 0: mean 0.5, deviations +-0.5, unbiased std sqrt(2 * 0.25 / 1) = 0.70711
    # group 7: mean 1, deviations -1 0 1, unbiased std 1
    advantages = group_advantage([1.0, 0.0, 0.0, 1.0, 2.0], [0, 0, 7, 7, 7])
    assert advantages == pytest.approx([0.70711, -0.70711, -1.0, 0.0, 1.0], abs=1e-5)


def test_without_scaling_it_is_the_deviation() -> None:
    assert group_advantage([1.0, 0.0, 5.0], [0, 0, 0], estimator="drgrpo") == pytest.approx([-1.0, -2.0, 3.0])


def test_leave_one_out_compares_with_the_mean_of_the_others() -> None:
    # 3 - (0 + 6) / 2, 0 - (3 + 6) / 2, 6 - (3 + 0) / 2
    assert group_advantage([3.0, 0.0, 6.0], [0, 0, 0], "rloo") == pytest.approx([0.0, -4.5, 4.5])


@pytest.mark.parametrize("estimator", ["grpo", "drgrpo", "rloo"])
def test_a_group_of_one_has_nothing_to_compare_with(estimator) -> None:
    assert group_advantage([1.0, 0.0], [0, 1], estimator).tolist() == [0.0, 0.0]


def test_only_groups_whose_rewards_differ_carry_a_gradient() -> None:
    assert groups_with_spread([1.0, 1.0, 0.5, 0.6, 0.0], [2, 2, 5, 5, 7]).tolist() == [5]


def test_a_group_without_reward_variance_has_no_advantage() -> None:
    assert group_advantage([0.7] * 3 + [0.1, 0.3], [0, 0, 0, 1, 1])[:3].tolist() == [0.0, 0.0, 0.0]


def test_an_all_success_group_still_learns_from_efficiency() -> None:
    rewards = efficiency_reward([True, True, True], [50, 100, 200], max_steps=200)
    advantages = group_advantage(rewards, [0, 0, 0])
    assert advantages[0] > 0 > advantages[2]
    assert np.all(np.diff(advantages) < 0)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="rewards, groups: expected two arrays of one length"):
        group_advantage([1.0, 2.0], [0])


@pytest.mark.parametrize("name", ["GRPO", "dr_grpo", "gae", None])
def test_an_estimator_that_does_not_exist_is_refused(name) -> None:
    with pytest.raises(ValueError, match=r"estimator: no such name.*Known: grpo, drgrpo, rloo"):
        group_advantage([1.0, 2.0], [0, 0], name)


@pytest.mark.parametrize("rewards", [[1.0, np.nan], [1.0, np.inf], ["1", "2"], [1.0, None], [1j, 2]])
def test_rewards_that_are_no_finite_numbers_are_refused(rewards) -> None:
    with pytest.raises((TypeError, ValueError), match=r"rewards: expected (real|finite) numbers"):
        group_advantage(rewards, [0, 0])
