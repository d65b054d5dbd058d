from __future__ import annotations

import math

import pytest
import torch

from ttrl_env.agents.losses import clipped_policy_loss
from ttrl_env.agents.reductions import token_weights

CLIP = {"clip_low": 0.2, "clip_high": 0.28, "entropy_coef": 0.0}


def test_weights_average_tokens_within_a_trajectory_then_trajectories() -> None:
    # trajectory 0 has 4 executed tokens over two chunks, trajectory 2 has 1
    mask = torch.tensor([[True, True, True], [True, False, False], [True, False, False]])
    weights = token_weights(mask, torch.tensor([0, 0, 2]), num_trajectories=2)
    expected = [[1 / 8, 1 / 8, 1 / 8], [1 / 8, 0, 0], [1 / 2, 0, 0]]
    assert torch.allclose(weights, torch.tensor(expected))
    assert float(weights.sum()) == pytest.approx(1.0)


def test_before_the_first_step_the_loss_is_minus_the_mean_advantage() -> None:
    logprobs = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    loss, report = clipped_policy_loss(
        logprobs,
        logprobs.detach(),
        torch.ones(2, 1),
        torch.tensor([3.0, -1.0]),
        torch.full((2, 1), 0.5),
        **CLIP,
    )
    assert float(loss) == pytest.approx(-1.0)
    assert (report.ratio, report.ratio_max, report.approx_kl, report.clip_fraction) == (1.0, 1.0, 0.0, 0.0)
    loss.backward()
    assert logprobs.grad.flatten().tolist() == pytest.approx([-1.5, 0.5])  # -w A


def test_gradient_is_cut_only_where_the_ratio_has_gone_far_enough_the_right_way() -> None:
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    logprobs = ratios.log()[:, None].requires_grad_()
    loss, report = clipped_policy_loss(
        logprobs, torch.zeros(4, 1), torch.zeros(4, 1), advantages, torch.full((4, 1), 0.25), **CLIP
    )
    # min(rA, clip(r)A): 1.28, -1.5, 0.5, -0.8
    assert float(loss) == pytest.approx(-(1.28 - 1.5 + 0.5 - 0.8) / 4)
    loss.backward()
    assert (logprobs.grad.flatten() != 0).tolist() == [False, True, True, False]
    assert report.clip_fraction == pytest.approx(1.0)
    assert report.approx_kl == pytest.approx(sum(r - 1 - math.log(r) for r in ratios.tolist()) / 4, abs=1e-6)


def test_tokens_that_were_not_executed_do_not_matter() -> None:
    weights = torch.tensor([[1.0, 0.0]])
    losses = [
        float(
            clipped_policy_loss(
                torch.tensor([[-1.0, other]]),
                torch.tensor([[-1.0, -1.0]]),
                torch.zeros(1, 2),
                torch.tensor([2.0]),
                weights,
                **CLIP,
            )[0]
        )
        for other in (-5.0, 5.0)
    ]
    assert losses == [-2.0, -2.0]


def test_entropy_bonus_lowers_the_loss() -> None:
    arguments = (
        torch.zeros(1, 1),
        torch.zeros(1, 1),
        torch.full((1, 1), 3.0),
        torch.zeros(1),
        torch.ones(1, 1),
    )
    loss, report = clipped_policy_loss(*arguments, clip_low=0.2, clip_high=0.2, entropy_coef=0.1)
    assert float(loss) == pytest.approx(-0.3)
    assert report.entropy == pytest.approx(3.0)
