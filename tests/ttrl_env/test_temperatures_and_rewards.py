from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ttrl_env.errors import UnknownNameError
from ttrl_env.rewards import binary_reward, check_reward, efficiency_reward, episode_reward
from ttrl_env.temperatures import group_temperatures, temperature_ladder


def test_ladder_by_hand() -> None:
    np.testing.assert_allclose(temperature_ladder(4, 0.6, 0.3), [0.6, 0.7, 0.8, 0.9], rtol=1e-6)
    np.testing.assert_allclose(temperature_ladder(3, 1.0, -0.5), [1.0, 0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(temperature_ladder(2, 1.6, 0.0), [1.6, 1.6], rtol=1e-6)
    assert temperature_ladder(4).dtype == np.float32


def test_a_single_row_samples_at_the_base_temperature() -> None:
    np.testing.assert_allclose(temperature_ladder(1, 0.6, 0.3), [0.6], rtol=1e-6)


@pytest.mark.parametrize(("base", "range_"), [(0.0, 0.3), (-0.1, 0.3), (0.3, -0.3), (0.3, -0.4)])
def test_every_temperature_must_be_positive(base: float, range_: float) -> None:
    with pytest.raises(ValueError, match=r"every temperature must be above 0.*base_temperature"):
        temperature_ladder(4, base, range_)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, "hot", None])
def test_temperatures_must_be_finite_numbers(wrong: Any) -> None:
    with pytest.raises(ValueError, match="base_temperature: expected a finite number"):
        temperature_ladder(4, wrong, 0.3)
    with pytest.raises(ValueError, match="temperature_range: expected a finite number"):
        temperature_ladder(4, 0.6, wrong)
    with pytest.raises(ValueError, match="temperature_range: expected a finite number"):
        group_temperatures(4, 0.6, wrong, test_time_rl=False)


@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_n_samples_must_be_a_positive_integer(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="n_samples: expected an integer of at least 1"):
        temperature_ladder(wrong)


def test_without_test_time_rl_a_group_has_one_temperature_and_the_binary_reward() -> None:
    ladder = group_temperatures(4, 0.6, 0.3, test_time_rl=True)
    np.testing.assert_array_equal(ladder, temperature_ladder(4, 0.6, 0.3))
    np.testing.assert_allclose(group_temperatures(4, 0.6, 0.3, test_time_rl=False), [0.6] * 4)
    assert check_reward("efficiency", test_time_rl=True) == "efficiency"
    assert check_reward("efficiency", test_time_rl=False) == "env_sparse"
    with pytest.raises(UnknownNameError, match="test_time_rl_reward: no such name"):
        check_reward("efficient", test_time_rl=False)  # type: ignore[arg-type]


def test_efficiency_reward_by_hand() -> None:
    # 1 / (1 + 0/200), 1 / (1 + 50/200), 1 / (1 + 200/200); a failure earns nothing however late it ends
    rewards = efficiency_reward([True, True, True, False], [0, 50, 200, 10], 200)
    np.testing.assert_allclose(rewards, [1.0, 0.8, 0.5, 0.0], rtol=0, atol=1e-15)


def test_sooner_success_earns_strictly_more_and_any_success_more_than_failure() -> None:
    rewards = efficiency_reward(np.ones(220, dtype=bool), np.arange(1, 221), 220)
    assert (np.diff(rewards) < 0).all()
    assert rewards.min() == 0.5


def test_binary_reward_ignores_speed() -> None:
    np.testing.assert_array_equal(binary_reward([True, False, True]), [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(episode_reward("env_sparse", [True, True], [1, 99], 100), [1.0, 1.0])
    np.testing.assert_allclose(episode_reward("efficiency", [True, True], [25, 100], 100), [0.8, 0.5])
