from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.agents.reach import ReachEngine, make_reach_env
from ttrl_env.agents.config.schema import CriticConfig, GAEConfig, PPOConfig
from ttrl_env.agents.distributed.processes import ALONE
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.critic import Critic, CriticSamples
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.agents.update.targets import critic_targets
from ttrl_env.privileged_state import PRIVILEGED_DIM
from ttrl_env.vector_env import TTRLVectorEnv


@pytest.fixture
def rollout(reach_env, tiny_policy) -> Rollout:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3)
    assert 0 < rollout.success.sum() < 8
    return rollout


def _samples(seed: int, rows: int = 400, num_privileged: int = 0) -> CriticSamples:
    """Success is likely where the first feature is large, early in an episode, and in cool rows.

    Where there is a privileged state, its first entry says how the episode ends.
    """
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 8, generator=rng)
    elapsed = torch.rand(rows, generator=rng)
    temperatures = 0.6 + 0.3 * torch.randint(0, 4, (rows,), generator=rng) / 3
    chance = torch.sigmoid(2 * features[:, 0] - 3 * (elapsed - 0.5) - 6 * (temperatures - 0.75))
    returns = (torch.rand(rows, generator=rng) < chance).float()
    privileged = 3.0 + 0.01 * returns[:, None].expand(rows, num_privileged)
    return CriticSamples(
        features=features,
        elapsed=elapsed,
        temperatures=temperatures,
        privileged=privileged,
        returns=returns,
    )


def _learnt(config: CriticConfig, rollouts: int, num_privileged: int = 0) -> Critic:
    critic = Critic(8, config)
    for seed in range(rollouts):
        samples = _samples(seed, num_privileged=num_privileged)
        critic.learn(samples, critic.values(samples), np.random.default_rng(seed))
    return critic


def test_before_the_first_rollout_every_value_is_the_mean_return() -> None:
    samples = _samples(0)
    values = Critic(8, CriticConfig()).values(samples)
    assert values.tolist() == pytest.approx([float(samples.returns.mean())] * 400, abs=1e-6)


def test_it_predicts_rollouts_it_has_not_seen_and_its_values_are_probabilities() -> None:
    critic = _learnt(CriticConfig(), rollouts=6)
    unseen = _samples(99, rows=4000)
    report = critic.learn(unseen, critic.values(unseen), np.random.default_rng(0))
    assert report.explained_variance > 0.3
    assert report.calibration_error < 0.08
    assert report.brier_score < 0.19


@pytest.mark.parametrize("name", ["elapsed", "temperatures"])
def test_it_sees_time_and_temperature(name) -> None:
    critic = _learnt(CriticConfig(), rollouts=6)
    early = replace(_samples(99), **{name: torch.full((400,), 0.0 if name == "elapsed" else 0.6)})
    late = replace(early, **{name: torch.full((400,), 1.0 if name == "elapsed" else 0.9)})
    assert critic.values(early).mean() > critic.values(late).mean() + 0.1


def test_it_sees_a_privileged_state_whatever_its_scale() -> None:
    unseen = _samples(99, num_privileged=2)
    values = _learnt(CriticConfig(privileged_state=True), 6, num_privileged=2).values(unseen)
    assert values[unseen.returns == 1].min() > values[unseen.returns == 0].max()


def test_a_rollout_keeps_what_the_simulator_knew_before_each_chunk(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3, keep_privileged_state=True)
    point, goal = rollout.privileged[:, 8], rollout.privileged[:, 21]  # x of the first two bodies
    assert torch.equal(goal, torch.ones(len(rollout.tokens)))
    first = torch.stack([(rollout.trajectory == row).nonzero()[0, 0] for row in range(8)])
    assert torch.equal(point[first], torch.zeros(8))
    assert point.unique().numel() > 8


def test_a_critic_is_shown_the_privileged_state_only_where_asked_for(reach_env, tiny_policy) -> None:
    rollout = collect_rollout(reach_env, tiny_policy, seed=3, keep_privileged_state=True)
    for shown in (False, True):
        config = PPOConfig(advantage="critic", critic=CriticConfig(privileged_state=shown))
        agent = PPOAgent(tiny_policy, config)
        agent.update(rollout)
        assert agent.critic is not None
        assert agent.critic.network.num_privileged == (PRIVILEGED_DIM if shown else 0)


def test_a_missing_privileged_state_is_refused_with_the_alternative(rollout, tiny_policy) -> None:
    config = PPOConfig(advantage="critic", critic=CriticConfig(privileged_state=True))
    with pytest.raises(ValueError, match="keep_privileged_state=True"):
        PPOAgent(tiny_policy, config).update(rollout)

    class RealRobot(TTRLVectorEnv):
        privileged_state = None  # type: ignore[assignment]

    robot = RealRobot(
        "libero_spatial", max_steps=32, chunk_steps=8, autoreset_mode="disabled", engine=ReachEngine
    )
    with pytest.raises(ValueError, match=r"critic\.privileged_state.*RealRobot has none.*Leave it false"):
        collect_rollout(robot, tiny_policy, seed=0, keep_privileged_state=True)


def test_a_rollout_is_judged_before_it_is_learnt_from(rollout) -> None:
    """A policy whose luck is in its own baseline would be told that nothing it did mattered."""
    config = CriticConfig(lam=1.0, normalise_advantages=False)
    critic, features = Critic(4, config), torch.randn(len(rollout.tokens), 4)
    critic_targets(rollout, features, critic, np.random.default_rng(0), ALONE)
    turned = _with_rewards(rollout, ~rollout.success)
    expected = critic.values(replace(critic.replay[-1], returns=torch.zeros(0)))
    targets = critic_targets(turned, features, critic, np.random.default_rng(1), ALONE)
    returns = (~rollout.success).astype(float)[rollout.trajectory.numpy()]
    by_trajectory = torch.argsort(rollout.trajectory, stable=True)
    values = torch.from_numpy(returns - targets.advantages).float()[by_trajectory]
    assert torch.allclose(values, expected, atol=1e-6)


def test_only_the_last_rollouts_are_kept() -> None:
    critic = _learnt(CriticConfig(replay_rollouts=2, steps=1), rollouts=3)
    for kept, seed in zip(critic.replay, (1, 2), strict=True):
        assert torch.equal(kept.returns, _samples(seed).returns)


def test_groups_without_spread_teach(tiny_policy, rollout) -> None:
    report = PPOAgent(tiny_policy, PPOConfig(advantage="critic")).update(_with_rewards(rollout, np.ones(8)))
    assert report.dropped_groups == 0
    assert report.chunks == len(rollout.tokens)


@pytest.mark.parametrize("num_privileged", [0, 2])
def test_a_critic_continues_exactly(num_privileged) -> None:
    whole = _learnt(CriticConfig(), 3, num_privileged)
    half = _learnt(CriticConfig(), 2, num_privileged)
    resumed = Critic(8, CriticConfig())
    resumed.load_state_dict(half.state_dict())
    third = _samples(2, num_privileged=num_privileged)
    resumed.learn(third, resumed.values(third), np.random.default_rng(2))
    assert torch.equal(resumed.values(third), whole.values(third))


def test_the_report_tells_a_good_critic_from_a_coin(rollout, tiny_policy) -> None:
    agent = PPOAgent(tiny_policy, PPOConfig(advantage="critic", learning_rate=1e-9))
    first, *_, last = [agent.update(rollout, seed=seed).critic for seed in range(6)]
    assert first is not None
    assert last is not None
    assert first.explained_variance == pytest.approx(0.0, abs=1e-6)  # a constant
    assert last.explained_variance > 0.15
    assert last.brier_score < first.brier_score
    assert math.isfinite(last.loss)


def test_rewards_that_are_no_probabilities_are_refused_with_the_alternative(tiny_policy, rollout) -> None:
    agent = PPOAgent(tiny_policy, PPOConfig(advantage="critic"))
    with pytest.raises(ValueError, match=r"returns from 0 to 1.*as far as -3\. ppo\.advantage=gae"):
        agent.update(_with_rewards(rollout, np.full(8, -3.0)))
    PPOAgent(tiny_policy, PPOConfig(advantage="gae", gae=GAEConfig())).update(
        _with_rewards(rollout, np.full(8, -3.0))
    )


def test_an_environment_without_a_horizon_is_refused_by_name(tiny_policy, rollout) -> None:
    agent = PPOAgent(tiny_policy, PPOConfig(advantage="critic"))
    with pytest.raises(ValueError, match="no max_steps"):
        agent.update(replace(rollout, elapsed=torch.full_like(rollout.elapsed, math.nan)))


def test_elapsed_is_the_share_of_the_horizon_before_each_chunk(tiny_policy) -> None:
    rollout = collect_rollout(make_reach_env(max_steps=20), tiny_policy, seed=3)
    longest = int(rollout.finish_steps.argmax())
    assert rollout.finish_steps[longest] == 20
    assert rollout.elapsed[rollout.trajectory == longest].tolist() == pytest.approx([0.0, 0.4, 0.8])


def _with_rewards(rollout: Rollout, rewards) -> Rollout:
    """The rollout with other rewards, each earned in the trajectory's last chunk."""
    chunk_rewards = torch.zeros_like(rollout.chunk_rewards)
    for row, reward in enumerate(rewards):
        chunk_rewards[(rollout.trajectory == row).nonzero()[-1]] = float(reward)
    return replace(rollout, rewards=np.asarray(rewards, dtype=np.float64), chunk_rewards=chunk_rewards)
