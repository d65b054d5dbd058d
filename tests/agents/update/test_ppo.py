from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.reach import make_reach_env, make_tiny_policy
from ttrl_env.agents.config.schema import GAEConfig, PPOConfig
from ttrl_env.agents.policies.reference import frozen_reference
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.losses import LossDiagnostics
from ttrl_env.agents.update.minibatches import make_minibatches
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.agents.update.report import UpdateReport
from ttrl_env.errors import ConfigError, SettingsWarning, TrainingDivergedError


@pytest.fixture
def rollout(reach_env, tiny_policy):
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    assert 0 < rollout.success.sum() < 8
    return rollout


def _first_and_last(report: UpdateReport) -> tuple[LossDiagnostics, LossDiagnostics]:
    """What the first and the last step of an update say."""
    assert report.first is not None
    assert report.last is not None
    return report.first, report.last


@pytest.mark.parametrize("micro_batch_chunks", [3, 128])
def test_ratio_is_exactly_one_before_the_first_step_at_mixed_temperatures(
    tiny_policy, rollout, micro_batch_chunks
) -> None:
    assert len(set(rollout.temperatures.tolist())) == 8
    agent = PPOAgent(tiny_policy, PPOConfig(micro_batch_chunks=micro_batch_chunks))
    report = agent.update(rollout)
    first, _ = _first_and_last(report)
    assert first.ratio == pytest.approx(1.0, abs=1e-6)  # a weighted mean of ones
    assert first.ratio_max == 1.0
    assert first.approx_kl == 0.0
    assert first.clip_fraction == 0.0
    assert report.logprob_difference < 1e-5
    assert report.steps == 1


def test_ratio_leaves_one_after_a_step(tiny_policy, rollout) -> None:
    report = PPOAgent(tiny_policy, PPOConfig(epochs=2, learning_rate=1e-3)).update(rollout)
    assert report.steps == 2
    assert _first_and_last(report)[1].approx_kl > 0


def test_micro_batches_do_not_change_the_update(rollout) -> None:
    results = []
    for size in (5, 1000):
        policy = make_tiny_policy()
        PPOAgent(policy, PPOConfig(micro_batch_chunks=size, learning_rate=1e-3)).update(rollout)
        results.append(torch.cat([parameter.flatten() for parameter in policy.parameters()]))
    assert torch.allclose(results[0], results[1], atol=1e-4)


def test_groups_without_reward_variance_are_dropped_and_change_nothing(tiny_policy, rollout) -> None:
    before = [parameter.clone() for parameter in tiny_policy.parameters()]
    flat = replace(rollout, rewards=np.full(8, 0.5))
    report = PPOAgent(tiny_policy, PPOConfig()).update(flat)
    assert (report.steps, report.dropped_groups, report.first) == (0, 1, None)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.parameters(), strict=True))


def test_success_of_a_row_makes_its_tokens_likelier(tiny_policy, rollout) -> None:
    agent = PPOAgent(tiny_policy, PPOConfig(learning_rate=1e-3))
    agent.update(rollout)
    with torch.no_grad():
        logits = tiny_policy(**rollout.inputs)
    temperatures = rollout.temperatures[rollout.trajectory][:, None, None]
    after = torch.log_softmax(logits / temperatures, -1).gather(-1, rollout.tokens[..., None])[..., 0]
    change = torch.where(rollout.mask, after - rollout.logprobs, 0).sum(dim=1)
    solved = torch.from_numpy(rollout.success)[rollout.trajectory]
    assert change[solved].mean() > change[~solved].mean()


def test_a_step_that_is_not_finite_is_skipped_and_counted(tiny_policy, rollout) -> None:
    before = [parameter.clone() for parameter in tiny_policy.parameters()]
    report = PPOAgent(tiny_policy, PPOConfig(advantage="rloo")).update(_too_large(rollout))
    assert (report.steps, report.skipped_steps) == (0, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.parameters(), strict=True))


@pytest.mark.parametrize("size", [0, 3])
def test_under_dr_grpo_every_token_of_an_update_weighs_one_share_of_the_horizon(
    tiny_policy, rollout, size
) -> None:
    """Of whatever minibatch: a step of fewer trajectories divides by fewer."""
    config = PPOConfig(
        advantage="drgrpo", loss_reduction="token-sum-norm", minibatch_trajectories=size, micro_batch_chunks=5
    )
    agent = PPOAgent(tiny_policy, config)
    assert len(set(rollout.finish_steps)) > 1
    rng = np.random.default_rng(0)
    minibatches = make_minibatches(rollout, np.arange(8), config, 5, rng, agent.lockstep)
    for minibatch in minibatches:
        members = len(torch.cat([rollout.trajectory[batch.chunks] for batch in minibatch]).unique())
        for batch in minibatch:
            of_tokens = rollout.mask[batch.chunks] / (members * 32 * 7)  # 32 steps of 7 tokens
            assert torch.allclose(batch.token_weights, of_tokens)
            assert torch.allclose(batch.chunk_weights, torch.tensor(1 / (members * 4)))


def test_diagnostics_stay_means_when_weights_do_not_sum_to_one(tiny_policy, rollout) -> None:
    settings: dict[str, Any] = {"advantage": "drgrpo", "loss_reduction": "token-sum-norm"}
    first, _ = _first_and_last(PPOAgent(tiny_policy, PPOConfig(**settings)).update(rollout))
    executed = rollout.finish_steps.sum() / (8 * 32)
    assert executed < 0.9
    assert first.weight == pytest.approx(executed)
    assert first.ratio == pytest.approx(1.0)
    assert first.entropy == pytest.approx(float(rollout.entropies[rollout.mask].mean()), rel=1e-5)


def test_dr_grpo_needs_a_horizon(tiny_policy, rollout) -> None:
    agent = PPOAgent(tiny_policy, PPOConfig(advantage="drgrpo", loss_reduction="token-sum-norm"))
    with pytest.raises(ValueError, match=r"ppo\.loss_reduction=token-sum-norm .* has no max_steps"):
        agent.update(replace(rollout, max_steps=None))


@pytest.mark.parametrize("reduction", ["trajectory-mean", "token-mean"])
def test_half_of_dr_grpo_is_told_the_other_half(tiny_policy, reduction) -> None:
    with pytest.warns(SettingsWarning, match=r"half of Dr\.GRPO.* Take ppo\.loss_reduction=token-sum-norm"):
        PPOAgent(tiny_policy, PPOConfig(advantage="drgrpo", loss_reduction=reduction))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PPOAgent(tiny_policy, PPOConfig(advantage="drgrpo", loss_reduction="token-sum-norm"))
        PPOAgent(tiny_policy, PPOConfig(loss_reduction=reduction))


def test_an_update_that_overshoots_stops_before_its_next_step(rollout) -> None:
    settings: dict[str, Any] = {"learning_rate": 3e-2, "warmup_steps": 0, "epochs": 6}
    policies = [make_tiny_policy() for _ in range(3)]
    free = PPOAgent(policies[0], PPOConfig(**settings)).update(rollout)
    assert (free.steps, free.stopped_early) == (6, False)
    stopped = PPOAgent(policies[1], PPOConfig(**settings, target_kl=1e-3)).update(rollout)
    assert (stopped.steps, stopped.skipped_steps, stopped.stopped_early) == (1, 0, True)
    assert _first_and_last(stopped)[1].approx_kl > 1.5e-3  # of the step that was left out
    PPOAgent(policies[2], PPOConfig(**{**settings, "epochs": 1})).update(rollout)
    weights = [torch.cat([each.flatten() for each in policy.parameters()]) for policy in policies]
    assert torch.equal(weights[1], weights[2])  # the first step alone
    assert not torch.equal(weights[0], weights[2])


def test_a_divergence_up_to_one_and_a_half_times_the_target_is_tolerated(rollout) -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-3, "warmup_steps": 0, "epochs": 2}
    kl = _first_and_last(PPOAgent(make_tiny_policy(), PPOConfig(**settings)).update(rollout))[1].approx_kl
    assert kl > 0
    for target, steps in ((kl / 1.4, 2), (kl / 1.6, 1)):
        config = PPOConfig(**settings, target_kl=target)
        assert PPOAgent(make_tiny_policy(), config).update(rollout).steps == steps


def test_minibatches_hold_every_trajectory_once(tiny_policy, rollout) -> None:
    report = PPOAgent(tiny_policy, PPOConfig(minibatch_trajectories=3)).update(rollout)
    assert report.steps == 3  # 8 trajectories in threes


@pytest.mark.parametrize("minibatch", [0, 3])
@pytest.mark.parametrize("settings", [{}, {"advantage": "gae"}, {"ratio_level": "chunk"}])
def test_every_minibatch_of_the_first_pass_knows_the_policy_before_the_update(
    rollout, minibatch, settings, monkeypatch
) -> None:
    """What the steps of the first pass are compared with must not depend on which of them comes first."""
    seen = []
    original = PPOAgent._loss

    def spy(agent, batch):
        result = original(agent, batch)
        seen.append((batch.chunks.clone(), batch.old_logprobs.clone()))
        return result

    monkeypatch.setattr(PPOAgent, "_loss", spy)
    before = make_tiny_policy()
    policy = make_tiny_policy()
    config = PPOConfig(
        learning_rate=1e-2, warmup_steps=0, minibatch_trajectories=minibatch, epochs=2, **settings
    )
    PPOAgent(policy, config).update(rollout)
    with torch.no_grad():
        everything = before.evaluate(rollout.inputs, rollout.tokens, rollout.temperatures[rollout.trajectory])
    for chunks, old in seen:
        assert torch.allclose(old, everything.logprobs[chunks], atol=1e-5)
    assert sum(len(chunks) for chunks, _ in seen) == 2 * len(rollout.tokens)


def test_a_measured_micro_batch_fits_the_budget_and_does_not_change_the_update(rollout) -> None:
    results = []
    for settings in ({"micro_batch_chunks": 1000}, {"memory_gigabytes": 0.002, "micro_batch_chunks": 1000}):
        policy = make_tiny_policy()
        report = PPOAgent(policy, PPOConfig(learning_rate=1e-3, **settings)).update(rollout)
        results.append((report.micro_batch_chunks, torch.cat([p.flatten() for p in policy.parameters()])))
    assert results[0][0] == 1000
    assert 1 < results[1][0] < len(rollout.tokens)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-4)
    with pytest.raises(ConfigError, match=r"ppo\.memory_gigabytes: one chunk.* got a budget of 1e-06 GB"):
        PPOAgent(make_tiny_policy(), PPOConfig(memory_gigabytes=1e-6)).update(rollout)


def test_steps_that_are_not_finite_stop_training_when_they_repeat(tiny_policy, rollout) -> None:
    before = [parameter.clone() for parameter in tiny_policy.parameters()]
    broken = _too_large(rollout)
    agent = PPOAgent(tiny_policy, PPOConfig(advantage="rloo", max_skipped_steps=3))
    for _ in range(2):
        assert agent.update(broken).skipped_steps == 1
    assert agent.update(rollout).steps == 1  # a good step starts the count anew
    before = [parameter.clone() for parameter in tiny_policy.parameters()]
    for _ in range(2):
        agent.update(broken)
    restarted = PPOAgent(tiny_policy, agent.config)
    restarted.load_state_dict(agent.state_dict())
    with pytest.raises(TrainingDivergedError, match="3 optimiser steps in a row"):
        restarted.update(broken)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.parameters(), strict=True))


def test_the_kl_penalty_keeps_a_policy_near_the_one_it_started_from(rollout) -> None:
    distances = []
    for kl_coef in (0.0, 10.0):
        policy = make_tiny_policy()
        config = PPOConfig(learning_rate=1e-3, warmup_steps=0, epochs=20, kl_coef=kl_coef)
        agent = PPOAgent(policy, config, frozen_reference(policy) if kl_coef else None)
        first, last = _first_and_last(agent.update(rollout))
        assert first.reference_kl == 0.0
        distances.append(last.approx_kl)
        if kl_coef:  # one update: the policy before it is the reference
            assert last.reference_kl == pytest.approx(_k3(policy, rollout), rel=0.5)
    assert distances[1] < 0.5 * distances[0]
    with pytest.raises(ValueError, match="reference"):
        PPOAgent(make_tiny_policy(), PPOConfig(kl_coef=0.1))


def _k3(policy, rollout) -> float:
    """KL(policy || rollout's policy) as the last step, which came before the last weights, saw it."""
    with torch.no_grad():
        temperatures = rollout.temperatures[rollout.trajectory]
        logprobs = policy.evaluate(rollout.inputs, rollout.tokens, temperatures).logprobs
    difference = (rollout.logprobs - logprobs)[rollout.mask]
    return float((difference.exp() - 1 - difference).mean())


def test_values_are_bootstrapped_only_where_the_horizon_cut_off(tiny_policy, reach_env) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3, keep_final_inputs=True)
    assert 0 < rollout.truncations.sum() < 8
    assert sorted(rollout.final_trajectory.tolist()) == np.flatnonzero(rollout.truncations).tolist()
    returns = {}
    for bootstrap in (False, True):
        config = PPOConfig(advantage="gae", gae=GAEConfig(bootstrap_truncated=bootstrap, lam=1.0))
        agent = PPOAgent(make_tiny_policy(), config)
        assert agent.value_head is not None
        torch.nn.init.constant_(agent.value_head.value.bias, 0.25)
        rng = np.random.default_rng(0)
        minibatches = make_minibatches(rollout, np.arange(8), config, 128, rng, agent.lockstep)
        agent._evaluate_before(minibatches, first=0)
        earned = agent._targets(rollout, minibatches, rows_at_once=3, rng=rng).returns
        assert earned is not None
        returns[bootstrap] = np.array([earned[rollout.trajectory.numpy() == b][-1] for b in range(8)])
    assert returns[False] == pytest.approx(rollout.rewards)
    assert returns[True] == pytest.approx(np.where(rollout.truncations, 0.25, rollout.rewards))


def test_the_value_head_learns_what_trajectories_earn(rollout, tiny_policy) -> None:
    lam = GAEConfig(lam=1.0)
    config = PPOConfig(advantage="gae", learning_rate=1e-9, epochs=30, gae=lam, warmup_steps=0)
    agent = PPOAgent(tiny_policy, config)
    first, second = agent.update(rollout), agent.update(rollout)
    assert _first_and_last(first)[0].value_loss > _first_and_last(second)[1].value_loss > 0
    assert first.explained_variance is not None
    assert second.explained_variance is not None
    assert second.explained_variance > first.explained_variance
    assert first.dropped_groups == 0


def test_the_value_loss_reaches_the_policy_only_if_asked_to(rollout) -> None:
    changed = []
    for through in (False, True):
        policy = make_tiny_policy()
        value = GAEConfig(value_backpropagates=through, value_coef=100.0)
        config = PPOConfig(advantage="gae", gae=value, epochs=2)
        PPOAgent(policy, config).update(rollout)
        changed.append(torch.cat([parameter.flatten() for parameter in policy.parameters()]))
    policy = make_tiny_policy()
    PPOAgent(policy, PPOConfig(advantage="gae", gae=GAEConfig(value_coef=0.0), epochs=2)).update(rollout)
    without = torch.cat([parameter.flatten() for parameter in policy.parameters()])
    assert torch.equal(without, changed[0])
    assert not torch.allclose(without, changed[1], atol=1e-6)


def test_an_agent_continues_from_its_state(rollout) -> None:
    policies = [make_tiny_policy(), make_tiny_policy()]
    config = PPOConfig(advantage="gae", learning_rate=1e-3, epochs=2)
    agent, other = PPOAgent(policies[0], config), PPOAgent(policies[1], config)
    agent.update(rollout, seed=0)
    other.update(rollout, seed=0)
    fresh = PPOAgent(policies[1], config)
    fresh.load_state_dict(other.state_dict())
    agent.update(rollout, seed=1)
    fresh.update(rollout, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(policies[0].parameters(), policies[1].parameters(), strict=True)
    )
    assert agent.value_head is not None
    assert fresh.value_head is not None
    heads = agent.value_head.parameters(), fresh.value_head.parameters()
    assert all(torch.equal(a, b) for a, b in zip(*heads, strict=True))
    with pytest.raises(ValueError, match="value head"):
        PPOAgent(policies[0], PPOConfig()).load_state_dict(agent.state_dict())


CHUNK_RATIOS = {"ratio_level": "chunk", "clip_low": 0.5, "clip_high": 1.0, "minibatch_trajectories": 0}
"""The joint ratio of up to 56 tokens moves faster than a token's: a wider range, whole-batch steps."""


def test_a_step_size_that_is_lowered_on_resuming_is_the_one_taken(tiny_policy, rollout) -> None:
    config = PPOConfig(learning_rate=1e-2, warmup_steps=4)
    agent = PPOAgent(tiny_policy, config)
    agent.update(rollout)
    lowered = PPOAgent(tiny_policy, replace(config, learning_rate=1e-12, weight_decay=0.5))
    lowered.load_state_dict(agent.state_dict())
    assert [group["lr"] for group in lowered.optimizer.optimizer.param_groups] == [1e-12 * 2 / 5]
    before = [parameter.clone() for parameter in tiny_policy.parameters()]
    assert lowered.update(rollout).steps == 1
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(before, tiny_policy.parameters(), strict=True))
    assert lowered.optimizer.optimizer.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"advantage": "grpo"}, id="grpo"),
        pytest.param({"advantage": "gae"}, id="gae"),
        pytest.param({"advantage": "rloo", "clip_ratio_c": 3.0, **CHUNK_RATIOS}, id="rloo by chunks"),
        *(
            pytest.param(settings, id=name, marks=pytest.mark.thorough)
            for name, settings in {
                "drgrpo": {"advantage": "drgrpo", "loss_reduction": "token-sum-norm"},
                "gae by chunks": {"advantage": "gae", "gae": GAEConfig(value_clip=0.2), **CHUNK_RATIOS},
                "grpo by means of chunks": {
                    "advantage": "grpo",
                    "ratio_level": "chunk-mean",
                    "clip_low": 0.02,
                    "clip_high": 0.028,
                },
            }.items()
        ),
    ],
)
def test_every_estimator_learns_the_reaching_task(settings) -> None:
    before, after = _learn("efficiency", settings)
    assert before[0] < 0.6
    assert after[0] > 0.9
    assert after[1] < before[1]


def test_the_reaching_task_is_learnt_from_binary_rewards() -> None:
    before, after = _learn("env_sparse", {})
    assert before[0] < 0.6
    assert after[0] > 0.9


def _too_large(rollout: Rollout) -> Rollout:
    """With a reward that float32 does not hold, so that the loss is infinite."""
    rewards = rollout.rewards.copy()
    rewards[0] = 1e100
    return replace(rollout, rewards=rewards)


def _learn(reward: str, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Success rate and steps, each the mean of three rollouts, at the start and the end of training."""
    env = make_reach_env(n_samples=8, num_groups=2, test_time_rl_reward=reward)
    policy = make_tiny_policy()
    config = {"learning_rate": 6e-3, "warmup_steps": 4, "epochs": 2, "minibatch_trajectories": 8, **settings}
    agent = PPOAgent(policy, PPOConfig(**config))
    history = []
    for iteration in range(26):
        rollout = collect_rollout(env, policy, seed=[1, iteration])
        agent.update(rollout, seed=iteration)
        history.append((rollout.success.mean(), rollout.finish_steps.mean()))
    return np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"advantage": "GRPO"},
        {"ratio_level": "tokens"},
        {"minibatch_trajectories": -1},
        {"epochs": 0},
        {"target_kl": 0.0},
        {"kl_estimator": "mse"},
    ],
)
def test_a_configuration_that_cannot_train_is_refused_where_it_is_made(wrong) -> None:
    with pytest.raises(ValueError, match=f"ppo.{next(iter(wrong))}: (expected|no such name)"):
        PPOConfig(**wrong)
