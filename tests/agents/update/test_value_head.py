from __future__ import annotations

import math

import pytest
import torch

from ttrl_env.agents.update.value_head import ValueHead, explained_variance, value_loss


def test_a_new_head_values_everything_at_zero_and_is_the_same_every_time() -> None:
    torch.manual_seed(5)
    first = ValueHead(6, 4)
    sampled = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(sampled, torch.rand(1))  # making a head takes nothing from the global generator
    assert first(torch.randn(3, 6)).tolist() == [0.0, 0.0, 0.0]
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), ValueHead(6, 4).parameters(), strict=True)
    )


def test_the_loss_is_half_the_weighted_squared_error() -> None:
    loss = value_loss(
        torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]), torch.zeros(2), torch.tensor([0.25, 0.75])
    )
    assert float(loss) == pytest.approx(0.5 * (0.25 * 1 + 0.75 * 4))


def test_a_value_that_has_moved_further_than_the_clip_gains_nothing_more() -> None:
    # old value 0, return 1, clip 0.2: at 0.5 the moved value is 0.2, whose error 0.8 is the greater
    values = torch.tensor([0.5, 0.1], requires_grad=True)
    loss = value_loss(values, torch.ones(2), torch.zeros(2), torch.full((2,), 0.5), clip=0.2)
    assert float(loss.detach()) == pytest.approx(0.25 * (0.64 + 0.81))
    loss.backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, -0.45])


def test_explained_variance() -> None:
    returns = [0.0, 1.0, 2.0]
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance([5.0, 5.0, 5.0], returns) == 0.0
    assert explained_variance([0.0, 2.0, 4.0], returns) == 0.0  # twice the returns is as bad as a constant
    assert math.isnan(explained_variance([0.0, 1.0], [1.0, 1.0]))


def test_arrays_that_would_be_broadcast_and_clips_that_clip_everything_are_refused() -> None:
    two, column = torch.zeros(2), torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"returns: expected shape \[2\], got \[2, 1\]"):
        value_loss(two, column, two, two)
    for clip in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="clip: expected a number above 0"):
            value_loss(two, two, two, two, clip)
