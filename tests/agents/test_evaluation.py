from __future__ import annotations

import numpy as np
import pytest

from tests.agents.reach import make_reach_env
from ttrl_env.agents.evaluation import evaluate, wilson_interval


class Forward:
    """Moves the point at full speed, or not at all where the image says so."""

    chunk_steps = 8

    def __init__(self, policy) -> None:
        self._policy = policy

    def prepare(self, observations, instructions):
        return self._policy.prepare(observations, instructions)

    def sample(self, inputs, temperatures, seeds, step=0):
        return self._policy.sample(inputs, temperatures, seeds, step)

    def decode(self, tokens):
        actions = np.zeros((len(tokens), 8, 7))
        actions[..., 0] = 1.0
        return actions


def test_wilson_interval_by_hand() -> None:
    # z = 1.959964: 8 of 10 gives (0.8 + z^2/20) / (1 + z^2/10) -+ ..., Wilson 1927
    assert wilson_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.27754), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.72246, 1.0), abs=1e-4)
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(0, 0)


@pytest.mark.parametrize("rows", [3, 4, 16])
def test_every_state_of_the_split_is_played_once_however_many_rows_there_are(tiny_policy, rows) -> None:
    env = make_reach_env(n_samples=1, num_groups=rows, init_states="all", test_time_rl=False)
    seen = []
    result = evaluate(env, Forward(tiny_policy), [0], progress=lambda done, total: seen.append((done, total)))
    assert [episode.init_state_id for episode in result.episodes] == list(range(40, 50))
    assert {episode.finish_step for episode in result.episodes} == {4}  # four full steps of 0.25
    assert (result.success_rate, result.steps_to_success) == (1.0, 4.0)
    assert seen[-1] == (10, 10)
    assert sum(env.engine.stepped_rows) == 10


def test_tasks_are_reported_apart(tiny_policy) -> None:
    env = make_reach_env(n_samples=1, num_groups=2, init_states="all", test_time_rl=False)
    result = evaluate(env, tiny_policy, [2, 5], episodes_per_task=3, init_states="all")
    report = result.report()
    assert [(e.task_id, e.init_state_id) for e in result.episodes] == [
        (t, s) for t in (2, 5) for s in range(3)
    ]
    assert list(report["tasks"]) == [2, 5]
    assert report["tasks"][2]["num_episodes"] == 3
    assert report["includes_training_states"]


def test_repeats_draw_anew(tiny_policy) -> None:
    env = make_reach_env(n_samples=1, num_groups=4, init_states="all", test_time_rl=False)
    result = evaluate(env, tiny_policy, [0], episodes_per_task=2, repeats=10, temperature=1.0)
    assert [episode.init_state_id for episode in result.episodes] == [40, 41] * 10
    outcomes = {(episode.success, episode.finish_step) for episode in result.episodes}
    assert len(outcomes) > 2  # neither all alike nor alike for each state


def test_no_success_has_no_steps_to_success(tiny_policy) -> None:
    env = make_reach_env(n_samples=1, num_groups=5, max_steps=1, init_states="all", test_time_rl=False)
    result = evaluate(env, Forward(tiny_policy), [0], episodes_per_task=5)
    assert (result.success_rate, result.steps_to_success) == (0.0, None)
