from __future__ import annotations

import pytest

from ttrl_env.errors import UnknownNameError
from ttrl_env.robotwin.catalogue import TASKS, task_id_of


def test_fifty_tasks_stand_in_alphabetical_order() -> None:
    names = [task.name for task in TASKS]
    assert len(names) == 50
    assert names == sorted(names)
    assert [task.task_id for task in TASKS] == [task_id_of(name) for name in names] == list(range(50))
    assert {task.suite for task in TASKS} == {"robotwin"}


def test_horizons_are_those_that_simplevla_rl_trains_with() -> None:
    others = {task.name: task.horizon for task in TASKS if task.horizon != 200}
    assert others == {
        "pick_dual_bottles": 100,
        "place_container_plate": 150,
        "shake_bottle": 75,
        "place_shoe": 250,
        "stack_blocks_two": 400,
        "stack_bowls_two": 400,
        "handover_block": 400,
        "blocks_ranking_rgb": 600,
        "put_bottles_dustbin": 800,
    }
    assert all(task.horizon <= task.step_limit <= 1700 for task in TASKS)


def test_tasks_of_boxes_alone_need_no_models() -> None:
    assert [task.name for task in TASKS if not task.objects] == [
        *("blocks_ranking_rgb", "blocks_ranking_size", "handover_block", "stack_blocks_three"),
        "stack_blocks_two",
    ]


def test_instructions_are_plain_sentences() -> None:
    for task in TASKS:
        assert len(task.instruction.split()) >= 3
        assert not set("<>{}_!") & set(task.instruction)


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"task: no such name 'stack_block_two'.*'stack_blocks_two'\?"):
        task_id_of("stack_block_two")
