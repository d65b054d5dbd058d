"""Progress in a log file: lines a minute apart, with what is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ttrl_env.agents.common import minute_lines
from ttrl_env.agents.common.minute_lines import MinuteLines
from ttrl_env.agents.common.progress import Display

METRICS = {
    "rollout/success_rate": 0.0,
    "rollout/steps_to_success": None,
    "rollout/reward_mean": 0.0,
    "rollout/reward_spread": 0.0,
    "seconds/simulation": 1.0,
    "seconds/policy": 2.0,
    "seconds/update": 3.0,
}


def test_a_line_a_minute_says_what_is_done_and_left() -> None:
    now = [0.0]
    said: list[str] = []
    lines = MinuteLines(said.append, completed=10, clock=lambda: now[0])
    for second in range(0, 200, 20):
        now[0] = float(second)
        lines.update("episodes", 10 + second // 20, 30, " of them")
    assert said == [
        "episodes: 13 of 30 of them, 0:01:00 elapsed, about 0:05:40 left",
        "episodes: 16 of 30 of them, 0:02:00 elapsed, about 0:04:40 left",
        "episodes: 19 of 30 of them, 0:03:00 elapsed, about 0:03:40 left",
    ]


def test_before_anything_is_done_nothing_is_promised() -> None:
    now = [0.0]
    said: list[str] = []
    lines = MinuteLines(said.append, clock=lambda: now[0])
    now[0] = 4000.0
    lines.update("episodes", 0, 30)
    assert said == ["episodes: 0 of 30, 1:06:40 elapsed"]


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(minute_lines, "SECONDS_BETWEEN", 0.0)


def test_success_on_states_that_were_chosen_is_told_from_that_on_all(impatient) -> None:
    written = io.StringIO()
    display = Display(Console(file=written, width=200))
    display.iteration(3, {**METRICS, "rollout/success_rate": 0.4, "states/success_rate": 0.62})
    assert "success  40% (all states about 62%)  steps" in written.getvalue()


def test_without_a_terminal_a_job_speaks_in_plain_lines(impatient) -> None:
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=False, width=200))
    with display.bar("greedy", total=0) as progress:
        progress(0, 4)
    with display.training(iterations=5, completed=2):
        display.rollout(3, 8)
        display.iteration(3, METRICS, seconds_left=3700.0)
        display.evaluating(1, 10)
    assert written.getvalue().splitlines() == [
        "greedy: 0 of 4, 0:00:00 elapsed",
        "iterations: 2 of 5 and 3 of 8 rows of the next rollout, 0:00:00 elapsed",
        "iteration    3  success   0%  steps    -  reward 0.000 (spread 0.000)  KL 0.0000"
        "  simulation 1.0 s, policy 2.0 s, update 3.0 s  about 1:01:40 left",
        "iterations: 3 of 5 and 1 of 10 episodes of an evaluation, 0:00:00 elapsed, about 1:01:40 left",
    ]


def test_on_a_terminal_bars_are_drawn_and_no_lines(impatient) -> None:
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=True, force_interactive=True, width=120))
    with display.bar("greedy", total=0) as progress:
        progress(1, 4)
    assert "1/4" in written.getvalue()
    assert "elapsed" not in written.getvalue()


def test_the_bar_of_a_slow_job_shows_what_is_left() -> None:
    """Rich keeps the updates of the last 30 seconds by default, and needs two of them."""
    now = [0.0]
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, force_interactive=True, width=120)
    console.get_time = lambda: now[0]
    with Display(console).bar("greedy", total=4) as progress:
        for done in range(3):
            progress(done, 4)
            now[0] += 100.0
    assert "0:03:20" in written.getvalue()  # two more of 100 s


def test_bars_of_a_training_run_show_what_is_left_of_it() -> None:
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=True, force_interactive=True, width=120))
    with display.training(iterations=5, completed=0):
        display.rollout(1, 8)
        display.iteration(1, METRICS, seconds_left=3700.0)
        display.evaluating(2, 10)
    shown = written.getvalue()
    assert "about 1:01:40 left" in shown
    assert "2/10" in shown
