from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.agents.reach import make_reach_env, make_tiny_policy
from ttrl_env.agents.configs import PPOConfig
from ttrl_env.agents.ppo import PPOAgent
from ttrl_env.agents.rollout import collect_rollout


@pytest.fixture
def rollout(reach_env, tiny_policy):
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    assert 0 < rollout.success.sum() < 8
    return rollout


@pytest.mark.parametrize("micro_batch_chunks", [3, 128])
def test_ratio_is_exactly_one_before_the_first_step_at_mixed_temperatures(
    tiny_policy, rollout, micro_batch_chunks
) -> None:
    assert len(set(rollout.temperatures.tolist())) == 8
    agent = PPOAgent(tiny_policy, PPOConfig(micro_batch_chunks=micro_batch_chunks))
    report = agent.update(rollout)
    assert report.first.ratio == pytest.approx(1.0, abs=1e-6)  # a weighted mean of ones
    assert report.first.ratio_max == 1.0
    assert report.first.approx_kl == 0.0
    assert report.first.clip_fraction == 0.0
    assert report.logprob_difference < 1e-5
    assert report.steps == 1


def test_ratio_leaves_one_after_a_step(tiny_policy, rollout) -> None:
    report = PPOAgent(tiny_policy, PPOConfig(epochs=2, learning_rate=1e-3)).update(rollout)
    assert report.steps == 2
    assert report.last.approx_kl > 0


def test_micro_batches_do_not_change_the_update(rollout) -> None:
    results = []
    for size in (5, 1000):
        policy = make_tiny_policy()
        PPOAgent(policy, PPOConfig(micro_batch_chunks=size, learning_rate=1e-3)).update(rollout)
        results.append(torch.cat([parameter.flatten() for parameter in policy.parameters()]))
    assert torch.allclose(*results, atol=1e-4)


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
    rewards = rollout.rewards.copy()
    rewards[0] = np.inf
    with np.errstate(invalid="ignore"):
        report = PPOAgent(tiny_policy, PPOConfig()).update(replace(rollout, rewards=rewards))
    assert (report.steps, report.skipped_steps) == (0, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.parameters(), strict=True))


def test_minibatches_hold_every_trajectory_once(tiny_policy, rollout) -> None:
    report = PPOAgent(tiny_policy, PPOConfig(minibatch_trajectories=3)).update(rollout)
    assert report.steps == 3  # 8 trajectories in threes


@pytest.mark.parametrize("reward", ["efficiency", "env_sparse"])
def test_the_reaching_task_is_learnt(reward) -> None:
    env = make_reach_env(n_samples=8, num_groups=2, test_time_rl_reward=reward)
    policy = make_tiny_policy()
    agent = PPOAgent(policy, PPOConfig(learning_rate=3e-3, epochs=2, minibatch_trajectories=8))
    history = []
    for iteration in range(35):
        rollout = collect_rollout(env, policy, seed=[0, iteration])
        agent.update(rollout, seed=iteration)
        history.append((rollout.success.mean(), rollout.finish_steps.mean()))
    before, after = np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)
    assert before[0] < 0.6
    assert after[0] > 0.95
    assert after[1] < before[1]
