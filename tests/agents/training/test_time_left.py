"""The time that a run still takes: iterations and evaluations to come, by the medians of those measured."""

from __future__ import annotations

import pytest

from ttrl_env.agents.training import time_left
from ttrl_env.agents.training.time_left import TimeLeft


@pytest.fixture
def now(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time_left, "perf_counter", lambda: now[0])
    return now


def test_nothing_is_said_before_an_iteration_was_measured(now) -> None:
    left = TimeLeft(iterations=10, evaluate_every=0)
    with left.evaluation():
        now[0] += 5.0
    assert left.seconds(0) is None


def test_iterations_to_come_take_the_median_so_far(now) -> None:
    left = TimeLeft(iterations=10, evaluate_every=0)
    for seconds in (60.0, 10.0, 12.0):
        with left.iteration():
            now[0] += seconds
    assert left.seconds(3) == 7 * 12.0
    assert left.seconds(10) == 0.0


@pytest.mark.parametrize(
    ("every", "completed", "evaluations"),
    [(0, 1, 1), (4, 1, 3), (4, 3, 3), (4, 4, 3), (4, 5, 2), (4, 9, 1), (5, 5, 2), (5, 6, 1), (5, 10, 1)],
)
def test_evaluations_to_come_count_the_one_that_is_due(every, completed, evaluations, now) -> None:
    left = TimeLeft(iterations=10, evaluate_every=every)
    with left.iteration():
        now[0] += 10.0
    with left.evaluation():
        now[0] += 1.0
    assert left.seconds(completed) == (10 - completed) * 10.0 + evaluations


def test_an_interrupted_iteration_is_not_measured(now) -> None:
    left = TimeLeft(iterations=10, evaluate_every=0)
    with pytest.raises(KeyboardInterrupt), left.iteration():
        raise KeyboardInterrupt
    assert left.seconds(0) is None
