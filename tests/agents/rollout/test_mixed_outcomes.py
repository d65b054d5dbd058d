"""What the groups play when states with mixed outcomes come first."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ttrl_env import tasks
from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.config.schema import RolloutConfig, TrainConfig, TrainEnvConfig
from ttrl_env.agents.rollout.mixed_outcomes import MixedOutcomesDealer, draw_shares

STATES, ROWS = 40, 8


@pytest.fixture(autouse=True)
def states_without_libero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids are known without reading LIBERO's files."""
    monkeypatch.setattr(tasks, "init_state_ids", lambda suite, task_id, split: tuple(range(STATES)))


def _config(num_groups: int = 8, num_tasks: int = 3) -> TrainConfig:
    env = TrainEnvConfig(task_ids=tuple(range(num_tasks)), num_groups=num_groups)
    return TrainConfig(env=env, rollout=RolloutConfig(states="mixed_outcomes"))


def _play(dealer: MixedOutcomesDealer, draws: int = 1) -> list[tuple[int, int]]:
    """An iteration in which task 0 never succeeds, task 1 always, and every second row of other tasks."""
    dealt = [dealer.deal(draw) for draw in range(draws)]
    groups = [pair for each in dealt for pair in zip(each.task_ids, each.init_state_ids, strict=True)]
    task_ids, state_ids = (np.repeat(ids, ROWS) for ids in zip(*groups, strict=True))
    success = (task_ids == 1) | ((task_ids > 1) & (np.arange(len(task_ids)) % 2 == 0))
    played: Any = SimpleNamespace(task_ids=task_ids, init_state_ids=state_ids, success=success)
    dealer.record(played, draws)
    return groups


def test_shares_are_a_floor_for_all_and_the_rest_by_variance() -> None:
    shares = draw_shares(np.array([0.5, 0.1, 0.9, 0.5]), floor=0.2)
    variances = np.array([0.25, 0.09, 0.09, 0.25]) / 0.68
    assert shares == pytest.approx(0.05 + 0.8 * variances)
    assert shares.sum() == pytest.approx(1)
    assert draw_shares(np.array([0.5, 0.01]), floor=1.0).tolist() == [0.5, 0.5]


def test_before_anything_is_known_all_states_are_alike_and_every_task_has_its_part() -> None:
    dealer = MixedOutcomesDealer(_config(num_groups=9))
    assert dealer.metrics()["states/effective_number"] == pytest.approx(3 * STATES)
    assert np.bincount(dealer.deal(0).task_ids).tolist() == [3, 3, 3]


def test_tasks_that_always_end_alike_get_little_more_than_their_floor() -> None:
    dealer = MixedOutcomesDealer(_config())
    for _ in range(15):
        _play(dealer)
    played = [task_id for _ in range(15) for task_id, _ in _play(dealer)]
    floor = 0.25 / 3
    never, always, mixed = np.bincount(played) / len(played)
    assert floor - 0.03 < never < 0.2
    assert floor - 0.03 < always < 0.2
    assert mixed > 0.6
    known = dealer.metrics()
    assert known["states/effective_number"] < 2.5 * STATES
    assert known["states/success_rate"] == pytest.approx(0.5, abs=0.05)
    assert known["states/nearly_always_fail"] > 0.2
    shares = [known[f"states/{name}"] for name in ("nearly_always_fail", "mixed", "nearly_always_succeed")]
    assert sum(shares) == pytest.approx(1)


def test_no_state_is_dealt_twice_in_an_iteration_before_all_others_have_been() -> None:
    dealer = MixedOutcomesDealer(_config(num_groups=50))
    for _ in range(3):
        groups = _play(dealer, draws=3)  # 150 groups, 120 states
        assert len(set(groups[:50])) == 50
        assert len(set(groups[:100])) == 100
        assert {groups.count(group) for group in groups} == {1, 2}


def test_one_task_has_more_groups_than_states() -> None:
    groups = _play(MixedOutcomesDealer(_config(num_groups=2 * STATES + 1, num_tasks=1)))
    assert {groups.count(group) for group in groups} <= {1, 2, 3}


def test_a_ladder_is_shifted_hotter_where_states_fail_and_cooler_where_they_succeed() -> None:
    config = _config(num_groups=9)
    dealer = MixedOutcomesDealer(replace(config, rollout=replace(config.rollout, ladder_shift=0.2)))
    ladders = np.tile(np.array([0.6, 0.9], dtype=np.float32), 9)
    assert dealer.deal(0).shifted(ladders).tolist() == ladders.tolist()  # estimates of one half
    for _ in range(15):
        _play(dealer)
    dealt = dealer.deal(0)
    shifted = dealt.shifted(ladders).reshape(9, 2)
    assert shifted[:, 1] - shifted[:, 0] == pytest.approx(0.3)
    means = {task: float(shifted[np.array(dealt.task_ids) == task, 0].mean()) for task in (0, 1, 2)}
    assert means == pytest.approx({0: 0.8, 1: 0.4, 2: 0.6}, abs=0.05)
    parts = [dealt.part(groups).shifted(ladders[:6]) for groups in (slice(0, 3), slice(3, 6), slice(6, 9))]
    assert np.concatenate(parts).tolist() == shifted.flatten().tolist()


def test_without_a_shift_temperatures_are_those_of_the_environment() -> None:
    ladders = np.array([0.6, 0.9], dtype=np.float32)
    assert MixedOutcomesDealer(_config(num_groups=1)).deal(0).shifted(ladders) is ladders


def test_what_is_dealt_follows_from_seed_number_and_outcomes() -> None:
    first, second = MixedOutcomesDealer(_config()), MixedOutcomesDealer(_config())
    assert [_play(first) for _ in range(4)] == [_play(second) for _ in range(4)]
    state = TrainingState(
        iteration=4,
        groups_dealt=first.groups_dealt,
        reference=None,
        config={},
        versions={},
        outcomes=first.outcomes,
    )
    restored = MixedOutcomesDealer(_config(), state)
    assert restored.deal(1) == restored.deal(1) != restored.deal(0)
    assert [_play(restored, draws=2) for _ in range(3)] == [_play(first, draws=2) for _ in range(3)]
    assert _play(MixedOutcomesDealer(replace(_config(), seed=1))) != _play(MixedOutcomesDealer(_config()))
