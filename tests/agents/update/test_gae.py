from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.update.gae import gae_over_chunks, normalised


def test_two_interleaved_trajectories_by_hand() -> None:
    # trajectory 0: chunks 0, 2, 3, success; trajectory 1: chunks 1, 4, cut off
    # gamma 0.5, lambda 0.5, so gamma * lambda = 0.25
    # trajectory 0, backwards:
    #   chunk 3: delta = 1 + 0 - 0.4 = 0.6                     A = 0.6                    R = 1.0
    #   chunk 2: delta = 0 + 0.5 * 0.4 - 0.3 = -0.1            A = -0.1 + 0.25 * 0.6 = 0.05     R = 0.35
    #   chunk 0: delta = 0 + 0.5 * 0.3 - 0.2 = -0.05           A = -0.05 + 0.25 * 0.05 = -0.0375 R = 0.1625
    # trajectory 1, horizon worth nothing:
    #   chunk 4: delta = 0 + 0 - 0.6 = -0.6                    A = -0.6                   R = 0.0
    #   chunk 1: delta = 0 + 0.5 * 0.6 - 0.1 = 0.2             A = 0.2 - 0.15 = 0.05      R = 0.15
    advantages, returns = gae_over_chunks(
        rewards=[0, 0, 0, 1, 0],
        values=[0.2, 0.1, 0.3, 0.4, 0.6],
        trajectory=[0, 1, 0, 0, 1],
        terminations=[True, False],
        truncations=[False, True],
        gamma=0.5,
        gae_lambda=0.5,
    )
    assert advantages == pytest.approx([-0.0375, 0.05, 0.05, 0.6, -0.6])
    assert returns == pytest.approx([0.1625, 0.15, 0.35, 1.0, 0.0])


def test_only_truncated_trajectories_are_bootstrapped_from_the_observation_after_them() -> None:
    # the truncated one: delta = 0 + 0.9 * 2 - 0.5 = 1.3; the terminated one: 1 - 0.5, whatever follows
    advantages, _ = gae_over_chunks(
        rewards=[0, 1],
        values=[0.5, 0.5],
        trajectory=[0, 1],
        terminations=[False, True],
        truncations=[True, False],
        final_values=[2.0, 100.0],
        gamma=0.9,
    )
    assert advantages == pytest.approx([1.3, 0.5])


def test_with_lambda_one_and_no_discount_returns_are_what_the_trajectory_earned() -> None:
    rng = np.random.default_rng(0)
    _, returns = gae_over_chunks(
        rewards=[0, 0, 0.75],
        values=rng.normal(size=3),
        trajectory=[0, 0, 0],
        terminations=[True],
        truncations=[False],
        gae_lambda=1.0,
    )
    assert returns == pytest.approx([0.75] * 3)


def test_a_trajectory_ends_one_way() -> None:
    with pytest.raises(ValueError, match="terminations, truncations"):
        gae_over_chunks([0], [0], [0], terminations=[True], truncations=[True])


def test_normalised_advantages_have_mean_zero_and_deviation_one() -> None:
    assert normalised(np.array([1.0, 3.0])) == pytest.approx([-1.0, 1.0])
    assert normalised(np.array([0.3])).tolist() == [0.0]


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.5, 0.9), (-0.1, 0.9), (0.9, float("nan"))])
def test_a_discount_outside_zero_to_one_is_refused(gamma, gae_lambda) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        gae_over_chunks([0], [0], [0], [True], [False], gamma=gamma, gae_lambda=gae_lambda)


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, 0.0], [[0.0], [0.0]]])
def test_arrays_that_do_not_belong_together_are_refused(values) -> None:
    with pytest.raises(ValueError, match="rewards, values, trajectory: expected arrays of one"):
        gae_over_chunks([0, 1], values, [0, 0], [True], [False])
