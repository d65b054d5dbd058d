"""What the catalogue says of every suite, and of RoboTwin's with nothing installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ttrl_env import libero_tasks, tasks
from ttrl_env.errors import UnsupportedSuiteError
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.suites import get_libero_suite
from ttrl_env.vector_env import TTRLVectorEnv


@pytest.fixture
def without_libero(monkeypatch) -> Iterator[None]:
    libero_tasks._libero.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    yield
    libero_tasks._libero.cache_clear()


def test_every_suite_is_liberos_or_robotwins() -> None:
    assert len(tasks.SUITES) == 21 + 1
    assert tasks.get_suite("robotwin").num_tasks == 50
    assert {suite.benchmark for suite in tasks.LIBERO_SUITES.values()} == {"libero"}
    assert tasks.original_suite("robotwin") == "robotwin"


def test_robotwins_tasks_are_known_without_any_simulator(without_libero) -> None:
    task = tasks.get_task("robotwin", 45)
    assert (task.name, task.horizon) == ("stack_blocks_two", 400)
    assert task.instruction == "stack the green block on the red block"


def test_a_task_of_robotwin_has_eighty_seeds_to_train_on_and_twenty_held_out(without_libero) -> None:
    assert tasks.init_state_ids("robotwin", 0) == tuple(range(80))
    assert tasks.init_state_ids("robotwin", 0, "held_out") == tuple(range(80, 100))
    assert len(tasks.init_state_ids("robotwin", 0, "all")) == tasks.num_init_states("robotwin", 0) == 100
    with pytest.raises(ValueError, match=r"robotwin task 3 has initial states 0 to 99, got \[100\]"):
        tasks.init_state_ids("robotwin", 3, [100])
    with pytest.raises(ValueError, match="robotwin has tasks 0 to 49, got 50"):
        tasks.init_state_ids("robotwin", 50)


def test_liberos_tasks_have_their_definition() -> None:
    assert isinstance(tasks.get_task("libero_goal", 7), LiberoTask)
    assert tasks.num_init_states("libero_goal", 7) == 50


def test_the_default_horizon_of_several_tasks_is_the_longest(without_libero) -> None:
    assert tasks.horizon("robotwin", (0, 1)) == 200
    assert tasks.horizon("robotwin", (0, 45, 41)) == 400
    assert tasks.horizon("libero_long", (0, 9)) == 520


def test_what_is_for_libero_alone_refuses_robotwin_by_name() -> None:
    with pytest.raises(UnsupportedSuiteError, match="world: expected a suite of LIBERO, got 'robotwin'"):
        get_libero_suite("robotwin", "world")
    expected = "suite: expected a suite of LIBERO, got 'robotwin'"
    for read in (libero_tasks.get_task, libero_tasks.init_states):
        with pytest.raises(UnsupportedSuiteError, match=expected):
            read("robotwin", 0)
    with pytest.raises(UnsupportedSuiteError, match=expected):
        TTRLVectorEnv("robotwin")
