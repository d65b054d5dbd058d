from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.agents.reach import make_reach_env
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.rollout.types import join_rollouts, select_groups


@pytest.fixture
def rollout(tiny_policy):
    env = make_reach_env(n_samples=3, num_groups=3)
    return collect_rollout(env, tiny_policy, seed=1, keep_final_inputs=True)


def test_selected_groups_keep_their_trajectories_and_chunks(rollout) -> None:
    part = select_groups(rollout, [0, 2])
    assert part.groups.tolist() == [0, 0, 0, 2, 2, 2]
    assert part.rewards.tolist() == rollout.rewards[[0, 1, 2, 6, 7, 8]].tolist()
    for new, old in enumerate([0, 1, 2, 6, 7, 8]):
        mine, theirs = part.trajectory == new, rollout.trajectory == old
        assert torch.equal(part.tokens[mine], rollout.tokens[theirs])
        assert torch.equal(part.inputs["pixels"][mine], rollout.inputs["pixels"][theirs])
        mine, theirs = part.final_trajectory == new, rollout.final_trajectory == old
        assert torch.equal(part.final_inputs["pixels"][mine], rollout.final_inputs["pixels"][theirs])
        assert bool(theirs.any()) == bool(rollout.truncations[old])


def test_no_groups_are_a_rollout_too(rollout) -> None:
    nothing = select_groups(rollout, [])
    assert (nothing.num_trajectories, len(nothing.tokens)) == (0, 0)
    joined = join_rollouts([nothing, rollout])
    assert joined.num_trajectories == 9
    assert torch.equal(joined.trajectory, rollout.trajectory)


def test_joined_rollouts_are_renumbered(rollout) -> None:
    joined = join_rollouts([rollout, select_groups(rollout, [1])])
    assert joined.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert joined.trajectory.max() == 11
    assert torch.equal(joined.tokens[joined.trajectory == 9], rollout.tokens[rollout.trajectory == 3])
    assert joined.simulation_seconds == 2 * rollout.simulation_seconds
    with pytest.raises(ValueError, match="at least one"):
        join_rollouts([])


def test_rollouts_of_different_horizons_are_not_joined(rollout) -> None:
    assert rollout.max_steps == join_rollouts([rollout, rollout]).max_steps == 32
    with pytest.raises(ValueError, match=r"one max_steps, got \[32, 48\]"):
        join_rollouts([rollout, replace(rollout, max_steps=48)])


def test_what_statistics_need_is_left_without_the_inputs(rollout) -> None:
    light = rollout.without_inputs()
    assert not light.inputs
    assert not light.final_inputs
    joined = join_rollouts([light, light])
    assert joined.rewards.tolist() == np.tile(rollout.rewards, 2).tolist()
