"""What a critic may see of a task's goal."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ttrl_env.engines.interface import SimState
from ttrl_env.goals import read_goal
from ttrl_env.libero_tasks import get_task, liberos_own_tasks
from ttrl_env.privileged_state import GOAL_BODIES, PRIVILEGED_DIM, goal_bodies, privileged_state

KITCHEN = (
    *("world", "table", "akita_black_bowl_1_main", "moka_pot_1_main", "wooden_cabinet_1_main"),
    *("wooden_cabinet_1_base", "wooden_cabinet_1_cabinet_top", "wooden_cabinet_1_cabinet_middle"),
    *("flat_stove_1_main", "flat_stove_1_burner", "flat_stove_1_button", "microwave_1_main"),
    *("microwave_1_microdoorroot", "white_yellow_mug_1_main", "alphabet_soup_1_main", "basket_1_main"),
)


@pytest.mark.parametrize(
    ("suite", "task_id", "bodies"),
    [
        ("libero_object", 0, ["alphabet_soup_1_main", "basket_1_main"]),
        ("libero_goal", 0, ["wooden_cabinet_1_cabinet_middle"]),  # open the middle drawer
        ("libero_goal", 7, ["flat_stove_1_button"]),  # turn on the stove
        ("libero_10", 2, ["flat_stove_1_button", "moka_pot_1_main", "flat_stove_1_main"]),
        ("libero_10", 9, ["white_yellow_mug_1_main", "microwave_1_main", "microwave_1_microdoorroot"]),
    ],
)
def test_the_bodies_are_those_of_the_goal_or_the_parts_that_move(suite, task_id, bodies) -> None:
    assert list(goal_bodies(get_task(suite, task_id), KITCHEN)) == bodies


def test_no_goal_of_liberos_own_suites_is_about_more_bodies_than_there_is_room_for() -> None:
    arguments = [
        {word for predicate in read_goal(task) for word in predicate.arguments}
        for task in liberos_own_tasks()
    ]
    assert max(map(len, arguments)) <= GOAL_BODIES


def test_a_row_holds_poses_relative_to_the_end_effector_and_in_the_world() -> None:
    rng = np.random.default_rng(0)
    positions, quats = rng.normal(size=(len(KITCHEN), 3)), rng.normal(size=(len(KITCHEN), 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    state = SimState(
        time=0.0,
        qpos=np.zeros(0),
        qvel=np.zeros(0),
        body_pos=np.zeros((len(KITCHEN), 3)),
        body_quat=np.zeros((len(KITCHEN), 4)),
        body_xpos=positions,
        body_xquat=quats,
        body_names=KITCHEN,
    )
    eef = np.array([0.1, 0.2, 0.3])
    row = privileged_state(get_task("libero_object", 0), state, eef, np.array([0.03, -0.04]))
    assert row.shape == (PRIVILEGED_DIM,)
    assert row.dtype == np.float32
    assert row[:4] == pytest.approx([0.1, 0.2, 0.3, 0.07])
    first, second, *absent = row[4:].reshape(GOAL_BODIES, 13)
    for place, name in ((first, "alphabet_soup_1_main"), (second, "basket_1_main")):
        body = KITCHEN.index(name)
        axes = np.empty(9)
        mujoco.mju_quat2Mat(axes, quats[body])
        assert place == pytest.approx(
            np.concatenate([[1], positions[body] - eef, positions[body], axes[0::3], axes[2::3]]), abs=1e-6
        )
    assert not np.any(absent)
