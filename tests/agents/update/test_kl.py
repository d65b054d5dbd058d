from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ttrl_env.agents.update.kl import kl_estimates
from ttrl_env.agents.update.losses import clipped_policy_loss
from ttrl_env.errors import UnknownNameError


def _categorical(seed: int, size: int = 5) -> Tensor:
    """Log-probabilities ``[size]`` float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(1.5 * torch.randn(size, generator=generator, dtype=torch.float64), 0)


def _gradient(logits: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient by ``logits`` of a function of their log-probabilities."""
    leaf = logits.clone().requires_grad_()
    of(torch.log_softmax(leaf, 0)).backward()
    assert leaf.grad is not None
    return leaf.grad


def _kl(of: Tensor, to: Tensor) -> Tensor:
    """The exact divergence of two categorical distributions, given as log-probabilities."""
    return (of.exp() * (of - to)).sum()


def test_k3_has_the_divergences_value_and_k2_is_near_it_near_the_reference() -> None:
    policy, reference = _categorical(0), _categorical(1)
    exact = float(_kl(policy, reference))
    assert exact > 0.3
    assert float((policy.exp() * kl_estimates(policy - reference)).sum()) == pytest.approx(exact)
    assert float((policy.exp() * kl_estimates(policy - reference, "k2")).sum()) != pytest.approx(
        exact, rel=0.1
    )
    near = torch.log_softmax(reference + 0.01 * policy, 0)
    assert float((near.exp() * kl_estimates(near - reference, "k2")).sum()) == pytest.approx(
        float(_kl(near, reference)), rel=0.05
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_gradient_of_k2_is_the_divergences_and_that_of_k3_the_reversed_ones(seed) -> None:
    """The penalty's gradient for every token, weighed by the probability of being sampled."""
    logits, reference = _categorical(seed), _categorical(seed + 100)
    chance = logits.exp()[:, None]

    def penalty(estimator: str) -> Callable[[Tensor], Tensor]:
        def loss(logprobs: Tensor) -> Tensor:
            tokens = logprobs[:, None]
            return clipped_policy_loss(
                tokens,
                tokens.detach(),
                torch.zeros_like(chance),
                torch.zeros(len(chance)),
                chance,
                clip_low=0.2,
                clip_high=0.2,
                reference_logprobs=reference[:, None],
                kl_coef=1.0,
                kl_estimator=estimator,  # type: ignore[arg-type]
            )[0]

        return loss

    forward = _gradient(logits, lambda logprobs: _kl(logprobs, reference))
    reverse = _gradient(logits, lambda logprobs: _kl(reference, logprobs))
    assert not torch.allclose(forward, reverse, rtol=0.1)
    assert torch.allclose(_gradient(logits, penalty("k2")), forward)
    assert torch.allclose(_gradient(logits, penalty("k3")), reverse)


def test_an_estimator_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"kl_estimator: no such name 'low_var_kl'. Known: k2, k3"):
        kl_estimates(torch.zeros(1), "low_var_kl")  # type: ignore[arg-type]
