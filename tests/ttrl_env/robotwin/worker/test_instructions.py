"""The runtime's generator is replaced by one that shows what it was given."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from ttrl_env.robotwin.worker.instructions import instruction

given: list[tuple[str, list[dict[str, str]], int, int]] = []


@pytest.fixture(autouse=True)
def generator(monkeypatch: pytest.MonkeyPatch) -> None:
    given.clear()

    def generate(*arguments: Any) -> list[dict[str, list[str]]]:
        given.append(arguments)
        return [{"seen": ["Stack them."], "unseen": []}]

    description = types.ModuleType("robotwin.description")
    description.generate_episode_descriptions = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robotwin", types.ModuleType("robotwin"))
    monkeypatch.setitem(sys.modules, "robotwin.description", description)


class Thing:
    def __init__(self, x: float) -> None:
        self.p = np.array([x, 0.0, 0.0])

    def get_pose(self) -> "Thing":
        return self


class Task:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)

    def get_info(self) -> dict[str, str]:
        if hasattr(self, "info"):
            return self.info
        raise AssertionError("get_info() of this task plays an episode")


def test_the_runtimes_own_answers_and_the_seed_reach_its_generator() -> None:
    info = {"{A}": "020_hammer/base0", "{a}": "left"}
    assert instruction("beat_block_hammer", Task(info=info), 100_003) == "Stack them."
    assert given == [("beat_block_hammer", [info], 1, 100_003)]


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("stack_blocks_three", ["red block", "green block", "blue block"]),
        ("blocks_ranking_size", ["large block", "medium block", "small block"]),
    ],
)
def test_tasks_that_would_play_their_expert_are_described_from_the_first_poses(
    task: str, names: list[str]
) -> None:
    instruction(task, Task(block1=Thing(-0.1), block2=Thing(0.2), block3=Thing(-0.2)), 1)
    [(_, [info], _, _)] = given
    assert [info["{A}"], info["{B}"], info["{C}"]] == names
    assert [info["{a}"], info["{b}"], info["{c}"]] == ["left", "right", "left"]


@pytest.mark.parametrize(
    ("positions", "arm"), [([0.1], "right"), ([-0.1, -0.2], "left"), ([0.1, -0.2], "dual")]
)
def test_breads_on_both_sides_take_both_arms(positions: list[float], arm: str) -> None:
    breads = [Thing(x) for x in positions]
    instruction("place_bread_basket", Task(bread=breads, bread_id=[3, 5][: len(breads)], basket_id=2), 1)
    [(_, [info], _, _)] = given
    assert info["{a}"] == arm
    assert info["{A}"] == "076_breadbasket/base2"
    assert info["{B}"] == "075_bread/base3"
    assert info.get("{C}") == ("075_bread/base5" if len(breads) == 2 else None)


def test_a_task_without_a_fitting_template_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["robotwin.description"]
    monkeypatch.setattr(module, "generate_episode_descriptions", lambda *_: [])
    with pytest.raises(RuntimeError, match="no instruction for click_bell"):
        instruction("click_bell", Task(info={}), 1)
