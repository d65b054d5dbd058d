from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ttrl_env.agents.config.schema import RolloutConfig
from ttrl_env.agents.rollout.group_selection import draw_groups
from ttrl_env.agents.rollout.types import Rollout


def _rollout(*groups: list[float]) -> Rollout:
    """One chunk a trajectory; a reward above 0 is a success. Tokens hold the reward in hundredths."""
    rewards = np.concatenate([np.asarray(group, dtype=np.float64) for group in groups])
    count, success = len(rewards), rewards > 0
    hundredths = torch.from_numpy((rewards * 100).astype(np.int64))[:, None]
    return Rollout(
        inputs={"pixels": hundredths},
        tokens=hundredths,
        logprobs=torch.zeros(count, 1),
        entropies=torch.zeros(count, 1),
        mask=torch.ones(count, 1, dtype=torch.bool),
        trajectory=torch.arange(count),
        chunk_rewards=torch.from_numpy(rewards),
        elapsed=torch.zeros(count),
        privileged=torch.empty(count, 0),
        max_steps=1,
        final_inputs={},
        final_trajectory=torch.empty(0, dtype=torch.int64),
        temperatures=torch.ones(count),
        groups=np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        rewards=rewards,
        success=success,
        terminations=success,
        truncations=~success,
        finish_steps=np.ones(count, dtype=np.int64),
        task_ids=np.zeros(count, dtype=np.int64),
        init_state_ids=np.zeros(count, dtype=np.int64),
        draws=np.zeros(count, dtype=np.int64),
        simulation_seconds=1.0,
        policy_seconds=1.0,
    )


MIXED, SOLVED, FAILED = [0.0, 0.8], [0.7, 0.9], [0.0, 0.0]


def _draw(config: RolloutConfig, wanted: int, *rollouts: Rollout, needs_spread: bool = True):
    asked = []

    def play(draw: int) -> Rollout:
        asked.append(draw)
        return rollouts[draw]

    groups = draw_groups(play, config, wanted, needs_spread=needs_spread)
    assert asked == list(range(groups.draws))
    return groups


def test_by_default_one_rollout_is_played_and_kept_as_it_is() -> None:
    rollout = _rollout(MIXED, FAILED)
    groups = _draw(RolloutConfig(), 2, rollout)
    assert groups.kept is rollout
    assert (groups.draws, groups.num_kept, groups.num_played, groups.shortfall) == (1, 2, 2, None)


@pytest.mark.parametrize(
    ("rewards", "kept"),
    [
        ([0.0] * 9 + [1.0], True),  # 0.1 and 0.9 are inclusive
        ([1.0] * 9 + [0.0], True),
        ([0.0] * 10 + [1.0], False),
        ([1.0] * 10, False),
        ([0.5] * 5 + [0.0] * 5, True),  # a success rate of 0.5, whatever the reward
    ],
)
def test_the_filter_looks_at_success_rates_with_inclusive_bounds(rewards, kept) -> None:
    groups = _draw(RolloutConfig(filter_accuracy=True), 1, _rollout(rewards))
    assert groups.num_kept == int(kept)
    assert groups.filtered == int(not kept)


def test_an_all_success_group_is_kept_unless_filtered() -> None:
    assert _draw(RolloutConfig(redraw=True), 1, _rollout(SOLVED)).num_kept == 1  # efficiency still differs
    assert _draw(RolloutConfig(filter_accuracy=True), 1, _rollout(SOLVED)).num_kept == 0


def test_groups_are_redrawn_until_the_batch_is_full_and_the_surplus_is_left_out() -> None:
    config = RolloutConfig(redraw=True, max_draws=5)
    other = [0.0, 0.6]
    groups = _draw(config, 2, _rollout(FAILED, FAILED), _rollout(MIXED, FAILED), _rollout(other, MIXED))
    assert (groups.draws, groups.num_played, groups.without_spread) == (3, 6, 3)
    assert groups.kept.rewards.tolist() == MIXED + other
    assert groups.kept.groups.tolist()[:2] != groups.kept.groups.tolist()[2:]
    assert groups.kept.inputs["pixels"].flatten().tolist() == [0, 80, 0, 60]
    assert groups.played.rewards.tolist() == FAILED * 2 + MIXED + FAILED + other + MIXED
    assert not groups.played.inputs
    assert groups.shortfall is None


def test_giving_up_is_said() -> None:
    config = RolloutConfig(redraw=True, max_draws=2, filter_accuracy=True)
    groups = _draw(config, 2, _rollout(FAILED, MIXED), _rollout(SOLVED, [0.5, 0.5]))
    assert groups.num_kept == 1
    assert groups.shortfall == (
        "kept 1 of 2 groups after 2 draws (4 played, 3 outside the success-rate bounds, 0 without reward "
        "spread); the update learns from these alone"
    )
    nothing = _draw(replace(config, max_draws=1), 1, _rollout(FAILED))
    assert nothing.shortfall is not None
    assert "the policy is left as it is" in nothing.shortfall
    assert nothing.kept.num_trajectories == 0


def test_a_value_head_learns_from_flat_groups_too() -> None:
    groups = _draw(RolloutConfig(redraw=True), 2, _rollout(FAILED, MIXED), needs_spread=False)
    assert (groups.draws, groups.num_kept) == (1, 2)
