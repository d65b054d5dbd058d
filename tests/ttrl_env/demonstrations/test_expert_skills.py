"""One episode of every skill on real LIBERO, and the geometry that skills are made of."""

from __future__ import annotations

import numpy as np
import pytest

from ttrl_env import libero_tasks
from ttrl_env.demonstrations.check import check_expert
from ttrl_env.demonstrations.experts import find_skill, make_expert
from ttrl_env.demonstrations.experts.grasps import WIDEST, choose_grasp
from ttrl_env.demonstrations.experts.motion import down_rotation, make_action, turn_between, wrap
from ttrl_env.demonstrations.experts.scene import Gripper
from ttrl_env.demonstrations.experts.travel import travel
from ttrl_env.errors import UnknownNameError
from ttrl_env.goals import Predicate, read_goal

NOTHING = np.zeros((0, 3))
BASE = np.array([-0.6, 0.0, 0.0])


@pytest.mark.libero
@pytest.mark.parametrize(
    ("suite", "task_id", "init_state", "most_steps"),
    [
        pytest.param("libero_object", 0, 40, 100, id="by the body, into a basket"),
        pytest.param("libero_spatial", 0, 41, 80, id="by the rim, onto a plate"),
        pytest.param("libero_goal", 7, 42, 110, id="stove on"),
    ],
)
def test_solves_a_held_out_state_in_good_time(suite, task_id, init_state, most_steps) -> None:
    [episode] = check_expert(libero_tasks.get_task(suite, task_id), [init_state], num_workers=1)
    assert episode.success
    assert episode.steps <= most_steps


@pytest.mark.libero
def test_solves_it_with_noise_too_and_the_noise_is_seeded() -> None:
    task = libero_tasks.get_task("libero_object", 0)
    first, again = (check_expert(task, [3, 4], noise=0.2, seed=1, num_workers=2) for _ in range(2))
    assert all(episode.success for episode in first)
    assert first == again


@pytest.mark.libero
def test_a_state_with_other_fixtures_is_refused() -> None:
    from ttrl_env.engines.native.replica import Replica
    from ttrl_env.engines.native.task.cache import load_bundle

    task = libero_tasks.get_task("libero_goal", 7)
    replica = Replica(load_bundle(task))
    replica.reset(libero_tasks.init_states("libero_goal", 7)[0], 0)
    state = replica.state()
    state.body_pos[state.body_names.index("flat_stove_1_main"), 0] += 0.05
    with pytest.raises(ValueError, match="fixture_seed"):
        make_expert(task).act({}, state)


def test_goals_are_read_as_the_file_has_them() -> None:
    [goal] = read_goal(libero_tasks.get_task("libero_object", 0))
    assert goal == Predicate("in", ("alphabet_soup_1", "basket_1_contain_region"))
    assert str(goal) == "in(alphabet_soup_1, basket_1_contain_region)"
    stove = libero_tasks.get_task("libero_10", 2)
    assert [predicate.name for predicate in read_goal(stove)] == ["turnon", "on"]


@pytest.mark.libero
def test_putting_something_into_a_shut_drawer_has_no_expert() -> None:
    with pytest.raises(UnknownNameError, match=r"in\(akita_black_bowl_1, wooden_cabinet_1_top_region\)"):
        make_expert(libero_tasks.get_task("libero_goal", 3))


def test_a_predicate_without_a_skill_has_none() -> None:
    assert find_skill(Predicate("open", ("wooden_cabinet_1_middle_region",))) is None
    assert find_skill(Predicate("close", ("microwave_1",))) is None


class TestGrasp:
    """An open hand over the origin, fingers along the world's y axis."""

    HAND = Gripper(np.array([0.0, 0.0, 0.3]), down_rotation(np.pi / 2), gap=0.08, speed=0.0)

    def test_takes_a_box_across_its_narrow_side(self) -> None:
        grasp = choose_grasp(box(0.10, 0.04, 0.05), self.HAND, NOTHING, BASE)
        assert wrap(grasp.yaw - np.pi / 2, np.pi) == pytest.approx(0.0)
        assert grasp.pos == pytest.approx([0.0, 0.0, 0.03])  # 0.02 below the top

    def test_turns_where_the_narrow_side_lies_the_other_way(self) -> None:
        grasp = choose_grasp(box(0.04, 0.10, 0.05), self.HAND, NOTHING, BASE)
        assert wrap(grasp.yaw, np.pi) == pytest.approx(0.0, abs=1e-6)

    def test_keeps_the_fingertips_off_the_ground(self) -> None:
        assert choose_grasp(box(0.08, 0.04, 0.018), self.HAND, NOTHING, BASE).pos[2] == pytest.approx(0.014)

    def test_takes_what_is_too_wide_by_its_rim(self) -> None:
        bowl = disc(radius=0.055, height=0.05)
        grasp = choose_grasp(bowl, self.HAND, NOTHING, BASE)
        assert np.ptp(bowl[:, 1]) > WIDEST
        assert np.linalg.norm(grasp.pos[:2]) == pytest.approx(0.050, abs=1e-3)  # inside the outline
        radial = np.arctan2(grasp.pos[1], grasp.pos[0])
        assert wrap(grasp.yaw - radial, np.pi) == pytest.approx(0.0, abs=1e-6)  # the wall between the fingers

    def test_avoids_a_neighbour(self) -> None:
        bowl = disc(radius=0.055, height=0.05)
        free = choose_grasp(bowl, self.HAND, NOTHING, BASE)
        neighbour = box(0.03, 0.03, 0.1) + np.array([*(free.pos[:2] * 1.9), 0.0])
        assert np.linalg.norm(choose_grasp(bowl, self.HAND, neighbour, BASE).pos - free.pos) > 0.02

    def test_avoids_a_wall_where_the_object_is_set_down(self) -> None:
        bowl = disc(radius=0.055, height=0.05)
        free = choose_grasp(bowl, self.HAND, NOTHING, BASE)
        move = np.array([0.3, 0.0, 0.0])
        wall = box(0.05, 0.02, 0.4) + move + np.array([0.0, free.pos[1] + np.sign(free.pos[1]) * 0.08, 0.0])
        moved = choose_grasp(bowl, self.HAND, wall, BASE, move)
        assert np.linalg.norm(moved.pos - free.pos) > 0.02
        assert choose_grasp(bowl, self.HAND, wall, BASE).pos == pytest.approx(free.pos)


class TestTravel:
    """From 0.3 m above the origin to a place on the ground 0.4 m ahead."""

    HERE, GOAL = np.array([0.0, 0.0, 0.3]), np.array([0.4, 0.0, 0.0])

    def test_goes_straight_where_nothing_stands(self) -> None:
        step = travel(self.HERE, self.GOAL, NOTHING, radius=0.03, below=0.0)
        assert step[0] > 0.05
        assert step[1] == 0.0
        assert step[2] <= 0.0

    def test_climbs_over_what_stands_in_the_way(self) -> None:
        tower = np.array([[0.2, 0.0, 0.5]])
        step = travel(self.HERE, self.GOAL, tower, radius=0.03, below=0.0)
        assert step[2] > 0.05

    def test_does_not_advance_into_what_it_is_too_low_for(self) -> None:
        tower = np.array([[0.05, 0.0, 0.5]])
        assert travel(self.HERE, self.GOAL, tower, radius=0.03, below=0.0)[0] == 0.0

    def test_what_it_carries_counts(self) -> None:
        tower = np.array([[0.2, 0.0, 0.25]])
        assert travel(self.HERE, self.GOAL, tower, radius=0.03, below=0.0)[2] <= 0.0
        assert travel(self.HERE, self.GOAL, tower, radius=0.03, below=0.1)[2] > 0.0

    def test_ignores_what_stands_beside_the_way(self) -> None:
        tower = np.array([[0.2, 0.1, 0.5]])
        assert travel(self.HERE, self.GOAL, tower, radius=0.03, below=0.0)[2] <= 0.0

    def test_goes_straight_down_at_the_goal(self) -> None:
        step = travel(np.array([0.395, 0.0, 0.2]), self.GOAL, NOTHING, radius=0.03, below=0.0)
        assert step[2] == pytest.approx(-0.4)


def test_turn_between_takes_one_rotation_to_the_other() -> None:
    turn = turn_between(down_rotation(0.2), down_rotation(0.5))
    assert turn == pytest.approx([0.0, 0.0, 0.3])
    assert turn_between(down_rotation(0.2), down_rotation(0.2)) == pytest.approx([0.0, 0.0, 0.0])


def test_actions_keep_their_direction_when_they_are_too_long() -> None:
    action = make_action(np.array([0.1, 0.05, 0.0]), np.zeros(3), -1.0)
    assert action.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0, 0.0, -1.0])


def box(x: float, y: float, z: float) -> np.ndarray:
    """Corners of a box of these sizes that stands on the ground around the origin."""
    signs = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [0.0, 1.0]), axis=-1).reshape(-1, 3)
    return signs * [x, y, z]


def disc(*, radius: float, height: float) -> np.ndarray:
    angles = np.arange(72) * 2 * np.pi / 72
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(72)], axis=1)
    return np.concatenate([ring, ring + np.array([0.0, 0.0, height])])
