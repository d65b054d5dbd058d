from __future__ import annotations

import pytest
import torch

from ttrl_env.agents.update.reductions import chunk_weights, token_weights

# trajectory 0 has 4 executed tokens in two chunks, trajectory 2 has 1 in one chunk
MASK = torch.tensor([[True, True, True], [True, False, False], [True, False, False]])
TRAJECTORY = torch.tensor([0, 0, 2])


def test_trajectory_mean_averages_tokens_within_a_trajectory_then_trajectories() -> None:
    weights = token_weights(MASK, TRAJECTORY, num_trajectories=2)
    expected = [[1 / 8, 1 / 8, 1 / 8], [1 / 8, 0, 0], [1 / 2, 0, 0]]
    assert torch.allclose(weights, torch.tensor(expected))
    assert float(weights.sum()) == pytest.approx(1.0)


def test_token_mean_counts_all_executed_tokens_alike() -> None:
    weights = token_weights(MASK, TRAJECTORY, num_trajectories=2, reduction="token-mean")
    assert torch.allclose(weights, MASK / 5)


def test_chunks_of_a_trajectory_count_alike_however_many_tokens_were_executed() -> None:
    assert chunk_weights(MASK, TRAJECTORY, 2).tolist() == [0.25, 0.25, 0.5]
    thirds = chunk_weights(MASK, TRAJECTORY, 2, "token-mean")
    assert thirds.tolist() == pytest.approx([1 / 3] * 3)


def test_under_dr_grpo_a_token_of_a_short_success_weighs_as_much_as_one_of_a_long_failure() -> None:
    chunks = {0: 4, 1: 14}  # of a success and of a failure that met the horizon
    trajectory = torch.tensor([each for each, count in chunks.items() for _ in range(count)])
    mask = torch.ones(18, 56, dtype=torch.bool)
    weights = token_weights(mask, trajectory, 2, "token-sum-norm", max_tokens=14 * 56)
    assert torch.allclose(weights, torch.tensor(1 / (2 * 14 * 56)))
    by_trajectory = token_weights(mask, trajectory, 2, "trajectory-mean")
    assert float(by_trajectory[0, 0] / by_trajectory[-1, 0]) == pytest.approx(3.5)
    of_chunks = chunk_weights(mask, trajectory, 2, "token-sum-norm", max_chunks=14)
    assert torch.allclose(of_chunks, torch.tensor(1 / 28))


@pytest.mark.parametrize("weights", [token_weights, chunk_weights])
def test_a_sum_needs_a_constant_to_be_divided_by(weights) -> None:
    with pytest.raises(ValueError, match=r"max_tokens: expected the most tokens .* got None"):
        weights(MASK, TRAJECTORY, 2, "token-sum-norm")


@pytest.mark.parametrize("reduction", ["trajectory-mean", "token-mean"])
def test_a_trajectory_that_executed_nothing_has_no_weight(reduction) -> None:
    mask = torch.tensor([[True, True], [False, False]])
    weights = token_weights(mask, torch.tensor([0, 1]), 2, reduction)
    assert weights[1].tolist() == [0.0, 0.0]
    assert torch.isfinite(weights).all()
    assert float(chunk_weights(mask, torch.tensor([0, 1]), 2, reduction)[1]) == 0.0


@pytest.mark.parametrize("weights", [token_weights, chunk_weights])
def test_a_reduction_that_does_not_exist_is_refused(weights) -> None:
    with pytest.raises(ValueError, match=r"reduction: no such name 'token_mean'. Did you mean 'token-mean'"):
        weights(MASK, TRAJECTORY, 2, "token_mean")
