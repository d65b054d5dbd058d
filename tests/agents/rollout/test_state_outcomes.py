"""Success of a state, from its own few episodes and from its task's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ttrl_env.agents.config.schema import MixedOutcomesConfig
from ttrl_env.agents.rollout.state_outcomes import StateOutcomes
from ttrl_env.errors import CheckpointError

CONFIG = MixedOutcomesConfig(task_half_life=1.0, state_half_life=2.0, prior_episodes=2.0)


def _outcomes(config: MixedOutcomesConfig = CONFIG) -> StateOutcomes:
    """Two tasks, numbered 4 and 7, with three states each."""
    return StateOutcomes(config, [4, 4, 4, 7, 7, 7], [0, 1, 2, 0, 1, 2])


def _record(outcomes: StateOutcomes, task_id: int, state_id: int, *success: int) -> None:
    """One iteration, whose only group is this."""
    task_ids, state_ids = (np.full(len(success), each) for each in (task_id, state_id))
    outcomes.record(task_ids, state_ids, np.array(success, dtype=bool))


def test_nothing_played_is_one_half() -> None:
    assert _outcomes().success_rates().tolist() == [0.5] * 6
    assert not _outcomes().played.any()


def test_an_estimate_is_the_level_of_the_task_and_an_offset_of_the_state() -> None:
    outcomes = _outcomes()
    _record(outcomes, 4, 0, 1, 0, 0, 0)
    # all tasks: (1 + 4 / 2) / (4 + 4); a task without episodes has this level
    overall = 3 / 8
    level = (1 + 4 * overall) / (4 + 4)
    offset = (1 - 4 * level) / (4 + 2)
    expected = [level + offset, level, level, overall, overall, overall]
    assert outcomes.success_rates() == pytest.approx(expected)
    assert outcomes.played.tolist() == [True, *[False] * 5]
    # a second iteration: the first counts half in the level, and an episode less its state's offset
    _record(outcomes, 4, 0, 1, 1)
    earned, episodes = 0.5 * 1 + 2 * (1 - offset), 0.5 * 4 + 2
    overall = (earned + 4 / 2) / (episodes + 4)
    later = (earned + 4 * overall) / (episodes + 4)
    kept = 0.5**0.5
    excess = kept * (1 - 4 * level) + 2 * (1 - later)
    expected = [later + excess / (kept * 4 + 2 + 2), later, later, overall, overall, overall]
    assert outcomes.success_rates() == pytest.approx(expected)


def test_the_level_does_not_depend_on_which_states_are_played() -> None:
    """One state always fails, two always succeed. Played six times as often, the first is one of three."""
    outcomes = _outcomes(MixedOutcomesConfig())
    for _ in range(60):
        for state_id in (0, 1, 2, 0, 0, 0, 0, 0):
            _record(outcomes, 4, state_id, *[int(state_id > 0)] * 8)
    rates = outcomes.success_rates()[:3]
    assert rates == pytest.approx([0.0, 1.0, 1.0], abs=0.15)
    assert rates.mean() == pytest.approx(2 / 3, abs=0.1)  # 3 of 8 episodes succeed


def test_evidence_fades_to_the_level_of_the_task() -> None:
    outcomes = _outcomes()
    _record(outcomes, 4, 0, *[0] * 8)
    _record(outcomes, 4, 1, *[1] * 8)
    assert outcomes.success_rates()[0] < outcomes.success_rates()[2] < outcomes.success_rates()[1]
    for _ in range(30):
        _record(outcomes, 7, 0, 1, 0)
    first, second, unplayed = outcomes.success_rates()[:3]
    assert (first, second) == pytest.approx((unplayed, unplayed), abs=1e-3)


@pytest.mark.parametrize("success", [0, 1])
def test_estimates_stay_away_from_certainty(success) -> None:
    outcomes = _outcomes(MixedOutcomesConfig(prior_episodes=0.1, task_half_life=1e6, state_half_life=1e6))
    for _ in range(50):
        _record(outcomes, 4, 0, *[success] * 1000)
    assert 0.01 <= outcomes.success_rates().min() <= outcomes.success_rates().max() <= 0.99


def test_what_is_saved_is_what_there_was_bit_for_bit() -> None:
    outcomes, restored = _outcomes(), _outcomes()
    for success in (0, 1, 1):
        _record(outcomes, 7, 2, success, 1, 0)
        _record(outcomes, 4, 1, 1)
    restored.restore(json.loads(json.dumps(outcomes.saved())))
    for each in (outcomes, restored):
        _record(each, 7, 2, 0, 1)
    assert outcomes.success_rates().tolist() == restored.success_rates().tolist()
    assert outcomes.saved() == restored.saved()
    assert [record[:2] for record in outcomes.saved()["states"]] == [[4, 1], [7, 2]]


@pytest.mark.parametrize(
    "change",
    [
        {"states": [[4, 9, 0.0, 1.0]]},
        {"states": [[5, 0, 0.0, 1.0]]},
        {"states": [[4, 0, float("nan"), 1.0]]},
        {"states": [[4, 0, 0.0, -1.0]]},
        {"states": [[4, 0, 0.0, float("inf")]]},
        {"states": [[4, 0, 0.0, "1"]]},
        {"states": [[]]},
        {"states": {"4": 1}},
        {"tasks": [[5, 0.0, 1.0]]},
        {"tasks": None},
    ],
)
def test_sums_of_another_run_or_none_are_named(change) -> None:
    saved: dict[str, Any] = {**_outcomes().saved(), **change}
    with pytest.raises(CheckpointError, match=rf"outcomes: {next(iter(change))}: expected ids of .* got "):
        _outcomes().restore(saved)
