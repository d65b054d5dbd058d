"""OpenVLA through rollout, PPO, KL reference, checkpoint and back: everything downstream is TinyVLA's."""

from __future__ import annotations

import pytest
import torch

from tests.agents.policies.openvla_inputs import load
from tests.agents.reach import make_reach_env
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.policies.reference import AdapterlessReference, frozen_reference
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.update.ppo import PPOAgent

pytestmark = pytest.mark.slow  # trains a model of every weight type

CASES = [("parallel", 0), ("parallel", 4), ("autoregressive", 0), ("autoregressive", 4)]


def _env(policy, **kwargs):
    return make_reach_env(image_size=32, chunk_steps=policy.chunk_steps, test_time_rl=True, **kwargs)


@pytest.mark.parametrize(("decoding", "lora_rank"), CASES)
def test_an_update_starts_at_ratio_one_and_changes_what_trains(checkpoint, decoding, lora_rank) -> None:
    policy = load(checkpoint, decoding, lora_rank=lora_rank)
    rollout = collect_rollout(_env(policy), policy, seed=1)
    assert len(set(rollout.temperatures.tolist())) == 8
    before = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    agent = PPOAgent(policy, PPOConfig(learning_rate=1e-3, micro_batch_chunks=16, warmup_steps=0))
    report = agent.update(rollout)
    assert report.first is not None
    assert report.first.ratio_max == 1.0
    assert report.logprob_difference < 1e-5
    assert report.steps == 1
    changed = {
        name for name, parameter in policy.named_parameters() if not torch.equal(before[name], parameter)
    }
    trained = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    assert changed <= trained
    if lora_rank:  # A has no gradient while B is zero
        assert changed == {name for name in trained if ".lora_B." in name}
    else:
        assert changed == trained


def test_test_time_rl_makes_it_better(checkpoint) -> None:
    policy = load(checkpoint, "parallel")
    env, exam = (
        _env(policy, n_samples=rows, base_temperature=1.0, temperature_range=0.0) for rows in (16, 64)
    )
    agent = PPOAgent(policy, PPOConfig(learning_rate=3e-3, warmup_steps=0))
    before = collect_rollout(exam, policy, seed=0).rewards
    for iteration in range(8):
        agent.update(collect_rollout(env, policy, seed=iteration + 1))
    after = collect_rollout(exam, policy, seed=0).rewards
    error = ((before.var() + after.var()) / 64) ** 0.5
    assert after.mean() - before.mean() > 3 * error, (before.mean(), after.mean(), error)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_the_reference_of_the_kl_penalty_stays_where_it_was(checkpoint, lora_rank) -> None:
    policy = load(checkpoint, lora_rank=lora_rank)
    rollout = collect_rollout(_env(policy), policy, seed=1)
    reference = frozen_reference(policy)
    assert isinstance(reference, AdapterlessReference) == bool(lora_rank)
    temperatures = rollout.temperatures[rollout.trajectory]
    before = reference.logprobs(rollout.inputs, rollout.tokens, temperatures)
    agent = PPOAgent(policy, PPOConfig(learning_rate=1e-2, kl_coef=0.1, epochs=2, warmup_steps=0), reference)
    agent.update(rollout)
    assert torch.equal(reference.logprobs(rollout.inputs, rollout.tokens, temperatures), before)
    assert (
        policy.evaluate(rollout.inputs, rollout.tokens, temperatures).logprobs - before
    ).abs().max() > 1e-3


@pytest.mark.parametrize(("decoding", "lora_rank"), CASES)
def test_a_trained_policy_saved_and_loaded_plays_the_same(checkpoint, decoding, lora_rank, tmp_path) -> None:
    policy = load(checkpoint, decoding, lora_rank=lora_rank)
    env = _env(policy, n_samples=4)
    PPOAgent(policy, PPOConfig(learning_rate=1e-2, warmup_steps=0)).update(
        collect_rollout(env, policy, seed=1)
    )
    policy.save_pretrained(tmp_path)
    again = load(tmp_path, decoding=None)
    first, second = (collect_rollout(env, each, seed=2) for each in (policy, again))
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.logprobs, second.logprobs)


def test_a_value_head_on_its_features_learns(checkpoint) -> None:
    policy = load(checkpoint, "autoregressive", lora_rank=4)
    agent = PPOAgent(policy, PPOConfig(advantage="gae", micro_batch_chunks=32))
    report = agent.update(collect_rollout(_env(policy), policy, seed=1))
    assert report.first is not None
    assert report.first.ratio_max == 1.0
    assert report.explained_variance is not None
