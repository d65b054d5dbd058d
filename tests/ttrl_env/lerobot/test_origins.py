"""Where the episodes of a LeRobotDataset come from; LeRobot itself is not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttrl_env import libero_tasks
from ttrl_env.demonstrations.origins import Origin, describe
from ttrl_env.errors import MissingDependencyError
from ttrl_env.lerobot import origins
from ttrl_env.lerobot.origins import ORIGINS, read_origins, write_origins

INSTRUCTIONS = ("open the drawer", "open the drawer", "go home")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "meta").mkdir()
    return tmp_path


def instructions_of(suite: str, *task_ids: int) -> list[str]:
    return [libero_tasks.get_task(suite, task_id).instruction for task_id in task_ids]


def test_what_is_written_is_read_back(folder) -> None:
    written = [Origin("libero_goal_task", "open", "3.3.2", 4), Origin("a", "b", "3.3.2", 7), Origin()]
    write_origins(folder, written)
    assert read_origins(folder, INSTRUCTIONS) == written


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"episodes": [{"suite": 3}]}',
        '{"episodes": [{"suite": 3, "task": null, "mujoco": null, "init_state_id": null}]}',
        '{"episodes": [{"suite": null, "task": null, "mujoco": null, "init_state_id": -1}]}',
        '{"episodes": [{"suite": "a", "task": "b", "mujoco": "3.3.2", "init_state_id": 1}]}',  # too few
    ],
)
def test_a_file_that_does_not_fit_says_nothing(folder, content) -> None:
    (folder / ORIGINS).write_text(content)
    assert read_origins(folder, INSTRUCTIONS) == [Origin()] * 3


def test_a_dataset_of_one_suite_is_known_by_its_instructions(folder) -> None:
    everything = instructions_of("libero_goal", *range(10))
    found = read_origins(folder, everything)
    assert [origin.task for origin in found] == [
        libero_tasks.get_task("libero_goal", each).name for each in range(10)
    ]
    assert {(origin.suite, origin.mujoco, origin.init_state_id) for origin in found} == {
        ("libero_goal", None, None)
    }
    # libero_90 has the same instruction, so alone it says nothing
    stove = everything.index("turn on the stove")
    assert read_origins(folder, everything[stove : stove + 1]) == [Origin()]


def test_of_a_dataset_of_several_suites_an_instruction_tells_its_task(folder) -> None:
    instructions = [*instructions_of("libero_object", 0), *instructions_of("libero_spatial", 3), "go home"]
    found = read_origins(folder, instructions)
    assert [origin.suite for origin in found] == ["libero_object", "libero_spatial", None]


def test_without_libero_instructions_tell_nothing(folder, monkeypatch) -> None:
    def missing() -> None:
        raise MissingDependencyError("no LIBERO")

    monkeypatch.setattr(origins, "liberos_own_tasks", missing)
    assert read_origins(folder, instructions_of("libero_object", 0)) == [Origin()]


def test_origins_are_described_by_task_and_version() -> None:
    new, old = Origin("a", "x", "3.3.2"), Origin("a", "x", "3.1.0")
    given = [new._replace(init_state_id=5), old, new._replace(init_state_id=1), new._replace(init_state_id=5)]
    assert describe(given) == [
        {"suite": "a", "task": "x", "num_episodes": 3, "init_state_ids": [1, 5], "mujoco": "3.3.2"},
        {"suite": "a", "task": "x", "num_episodes": 1, "init_state_ids": None, "mujoco": "3.1.0"},
    ]
