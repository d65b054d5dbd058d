from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
import torch

from ttrl_env.agents.config.choices import RatioLevel
from ttrl_env.agents.update.losses import LossDiagnostics, clipped_policy_loss, merge_diagnostics

CLIP: dict[str, Any] = {"clip_low": 0.2, "clip_high": 0.28, "entropy_coef": 0.0}


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
    assert float(loss.detach()) == pytest.approx(-1.0)
    assert (report.ratio, report.ratio_max, report.approx_kl, report.clip_fraction) == (1.0, 1.0, 0.0, 0.0)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.flatten().tolist() == pytest.approx([-1.5, 0.5])  # -w A


def test_gradient_is_cut_only_where_the_ratio_has_gone_far_enough_the_right_way() -> None:
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    logprobs = ratios.log()[:, None].requires_grad_()
    loss, report = clipped_policy_loss(
        logprobs, torch.zeros(4, 1), torch.zeros(4, 1), advantages, torch.full((4, 1), 0.25), **CLIP
    )
    # min(rA, clip(r)A): 1.28, -1.5, 0.5, -0.8
    assert float(loss.detach()) == pytest.approx(-(1.28 - 1.5 + 0.5 - 0.8) / 4)
    loss.backward()
    assert logprobs.grad is not None
    assert (logprobs.grad.flatten() != 0).tolist() == [False, True, True, False]
    assert report.clip_fraction == pytest.approx(1.0)
    assert (report.clip_fraction_low, report.clip_fraction_high) == (0.5, 0.5)
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
        for other in (-5.0, 5.0, -math.inf, math.nan)
    ]
    assert losses == [-2.0] * 4


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


def test_dual_clip_bounds_the_loss_of_a_token_that_became_far_likelier() -> None:
    ratios = torch.tensor([5.0, 2.0, 5.0])
    advantages = torch.tensor([-1.0, -1.0, 1.0])
    logprobs = ratios.log()[:, None].requires_grad_()
    arguments = (logprobs, torch.zeros(3, 1), torch.zeros(3, 1), advantages, torch.full((3, 1), 1 / 3))
    plain, _ = clipped_policy_loss(*arguments, **CLIP)
    loss, report = clipped_policy_loss(*arguments, **CLIP, clip_ratio_c=3.0)
    assert float(plain.detach()) == pytest.approx((5.0 + 2.0 - 1.28) / 3)
    assert float(loss.detach()) == pytest.approx((3.0 + 2.0 - 1.28) / 3)  # 5 is bounded by 3, 2 is not
    loss.backward()
    assert logprobs.grad is not None
    assert (logprobs.grad.flatten() != 0).tolist() == [False, True, False]
    assert report.dual_clip_fraction == pytest.approx(1 / 3)


def _two_executed_tokens(
    logprobs: torch.Tensor, advantage: float, ratio_level: RatioLevel
) -> tuple[torch.Tensor, LossDiagnostics]:
    """Loss of a chunk of three tokens, of which the third was not executed."""
    return clipped_policy_loss(
        logprobs,
        torch.zeros(1, 3),
        torch.zeros(1, 3),
        torch.tensor([advantage]),
        torch.tensor([[0.5, 0.5, 0.0]]),
        **CLIP,
        ratio_level=ratio_level,
        chunk_weights=torch.ones(1),
    )


def test_a_chunks_ratio_is_of_the_joint_probability_of_its_executed_tokens() -> None:
    # ratios of executed tokens 1.1 and 1.5 multiply to 1.65
    logprobs = torch.tensor([1.1, 1.5, 9.0]).log()[None].requires_grad_()
    for advantage, expected in ((1.0, -1.28), (-1.0, 1.65)):
        loss, report = _two_executed_tokens(logprobs, advantage, "chunk")
        assert float(loss.detach()) == pytest.approx(expected)
        assert report.ratio == pytest.approx(1.65)
        # nats a token at every level: the mean of r - 1 - log r over 1.1 and 1.5
        assert report.approx_kl == pytest.approx((0.1 - math.log(1.1) + 0.5 - math.log(1.5)) / 2, abs=1e-6)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.flatten().tolist() == pytest.approx([1.65, 1.65, 0.0])  # d(ratio)/d(log p) = ratio


def test_a_chunks_mean_ratio_is_the_geometric_mean_of_its_executed_tokens() -> None:
    # sqrt(1.1 * 1.5) = 1.284523 is above 1.28
    logprobs = torch.tensor([1.1, 1.5, 9.0]).log()[None].requires_grad_()
    for advantage, expected in ((1.0, -1.28), (-1.0, 1.2845233)):
        loss, report = _two_executed_tokens(logprobs, advantage, "chunk-mean")
        assert float(loss.detach()) == pytest.approx(expected)
        assert report.ratio == pytest.approx(1.2845233)
        assert report.clip_fraction == 1.0
    loss.backward()
    assert logprobs.grad is not None
    half = 1.2845233 / 2  # each of two tokens moves the mean of the logarithms by half
    assert logprobs.grad.flatten().tolist() == pytest.approx([half, half, 0.0])


@pytest.mark.parametrize(
    ("level", "per_token"),
    [
        ("token", [[0.25, 0.25], [0.5, 0.0]]),
        ("chunk", [[0.5, 0.5], [0.5, 0.0]]),
        ("chunk-mean", [[0.25, 0.25], [0.5, 0.0]]),
    ],
)
def test_entropy_and_kl_are_traded_against_advantages_at_one_rate_at_every_level(level, per_token) -> None:
    """Two chunks of one trajectory each, one cut after its first token; everything at ratio 1."""
    weights = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    chunk_weights = None if level == "token" else torch.tensor([0.5, 0.5])
    logprobs = torch.full((2, 2), -1.0, requires_grad=True)
    entropies = torch.ones(2, 2, requires_grad=True)
    loss, report = clipped_policy_loss(
        logprobs,
        logprobs.detach(),
        entropies,
        torch.ones(2),
        weights,
        clip_low=0.2,
        clip_high=0.28,
        entropy_coef=0.1,
        ratio_level=level,
        chunk_weights=chunk_weights,
        reference_logprobs=logprobs.detach() - 0.5,
        kl_coef=0.2,
        kl_estimator="k2",
    )
    loss.backward()
    assert logprobs.grad is not None
    assert entropies.grad is not None
    expected = torch.tensor(per_token)
    assert torch.allclose(logprobs.grad, -expected * (1.0 - 0.2 * 0.5))  # A minus k (log p - log q)
    assert torch.allclose(entropies.grad, -0.1 * expected)
    assert (report.entropy, report.weight, report.token_weight) == (1.0, 1.0, 1.0)


def test_the_kl_penalty_is_schulmans_k3_and_pulls_back_to_the_reference() -> None:
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    reference = torch.tensor([[-1.5, -1.0]])
    loss, report = clipped_policy_loss(
        logprobs,
        logprobs.detach(),
        torch.zeros(1, 2),
        torch.zeros(1),
        torch.full((1, 2), 0.5),
        **CLIP,
        reference_logprobs=reference,
        kl_coef=0.1,
    )
    # d = -0.5 and 1: exp(d) - 1 - d = 0.106531 and 0.718282, mean 0.412406
    assert report.reference_kl == pytest.approx(0.412406, abs=1e-5)
    assert float(loss.detach()) == pytest.approx(0.0412406, abs=1e-6)
    loss.backward()
    # derivative of each term is w k (1 - exp(d)): 0.05 * 0.393469 and 0.05 * -1.718282
    assert logprobs.grad is not None
    assert logprobs.grad.flatten().tolist() == pytest.approx([0.0196735, -0.0859141], abs=1e-6)


@pytest.mark.parametrize("level", ["token", "chunk", "chunk-mean"])
def test_micro_batches_add_up_to_their_minibatch(level) -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs, old, entropies, reference = (
        -torch.rand(6, 4, generator=generator, dtype=torch.float64).float() for _ in range(4)
    )
    advantages = torch.randn(6, generator=generator)
    weights = torch.rand(6, 4, generator=generator) * (torch.rand(6, 4, generator=generator) > 0.3)
    weights = weights / weights.sum()
    settings = {**CLIP, "entropy_coef": 0.1, "clip_ratio_c": 1.5, "kl_coef": 0.2, "ratio_level": level}
    of_chunks = None if level == "token" else torch.tensor([0.1, 0.0, 0.3, 0.2, 0.3, 0.1])
    weights[1] = 0.0
    rows = (slice(0, 1), slice(1, 4), slice(4, 6))
    parts = [
        clipped_policy_loss(
            logprobs[r],
            old[r],
            entropies[r],
            advantages[r],
            weights[r],
            reference_logprobs=reference[r],
            chunk_weights=None if of_chunks is None else of_chunks[r],
            **settings,
        )
        for r in rows
    ]
    whole_loss, whole = clipped_policy_loss(
        logprobs,
        old,
        entropies,
        advantages,
        weights,
        reference_logprobs=reference,
        chunk_weights=of_chunks,
        **settings,
    )
    assert float(sum(loss for loss, _ in parts)) == pytest.approx(float(whole_loss), abs=1e-6)
    merged = merge_diagnostics([report for _, report in parts])
    assert asdict(merged) == pytest.approx(asdict(whole), abs=1e-5)


def test_a_part_in_which_nothing_was_executed_counts_for_nothing() -> None:
    zeros = torch.zeros(1, 2)
    loss, report = clipped_policy_loss(zeros, zeros, zeros, torch.ones(1), zeros, **CLIP)
    assert float(loss) == 0.0
    assert all(math.isfinite(value) for value in asdict(report).values())
    with pytest.raises(ValueError, match="parts"):
        merge_diagnostics([])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("clip_low", 0.0),
        ("clip_high", -0.1),
        ("clip_ratio_c", 0.5),
        ("entropy_coef", -1.0),
        ("entropy_coef", math.nan),
        ("kl_coef", math.inf),
        ("kl_coef", 0.1),  # without reference_logprobs there is nothing to pull towards
        ("advantages", torch.zeros(2, 3)),
        ("entropies", torch.zeros(2, 1)),
        ("chunk_weights", torch.zeros(2, 3)),
        ("chunk_weights", torch.zeros(2)),  # tokens have the ratios
    ],
)
def test_coefficients_out_of_range_and_arrays_that_would_be_broadcast_are_refused(argument, value) -> None:
    zeros = torch.zeros(2, 3)
    arrays = {name: zeros for name in ("logprobs", "old_logprobs", "entropies", "weights")}
    with pytest.raises(ValueError, match=r"(reference_logprobs|" + argument + "): expected"):
        clipped_policy_loss(**{**arrays, "advantages": torch.zeros(2), **CLIP, argument: value})
