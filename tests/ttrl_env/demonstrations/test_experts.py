from __future__ import annotations

import numpy as np
import pytest

from ttrl_env import libero_tasks, tasks
from ttrl_env.demonstrations.check import check_expert
from ttrl_env.demonstrations.experts import make_expert
from ttrl_env.demonstrations.experts.close_drawer import CloseTopDrawer
from ttrl_env.demonstrations.playing import play
from ttrl_env.engines.interface import SimState
from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.settled import SETTLE_STEPS
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.errors import UnknownNameError

FACING_ROBOT_LEFT = (0.0, 0.0, 0.0, 1.0)
"""Turned by half a turn (wxyz), as the wooden cabinet of KITCHEN_SCENE10: its drawers open along +y."""
FACING_ROBOT_RIGHT = (1.0, 0.0, 0.0, 0.0)
"""Not turned, as the white cabinet of KITCHEN_SCENE5: its drawers open along -y."""
DRAWER_JOINT = 37
"""The top drawer's place in libero_90 task 0's qpos."""
STRAIGHT_DOWN = (1.0, 0.0, 0.0, 0.0)
"""xyzw: half a turn about x."""


@pytest.mark.libero
@pytest.mark.parametrize("task_id", [0, pytest.param(28, marks=pytest.mark.thorough)])
def test_closes_the_drawer_from_held_out_states(task_id) -> None:
    states = tasks.init_state_ids("libero_90", task_id, "held_out")[:3]
    episodes = check_expert(libero_tasks.get_task("libero_90", task_id), states, num_workers=1)
    for episode in episodes:
        assert episode.success, episode
        assert episode.steps <= 40, episode


@pytest.mark.libero
def test_recovers_from_behind_the_panel() -> None:
    replica = Replica(load_bundle(libero_tasks.get_task("libero_90", 0)))
    replica.reset(libero_tasks.init_states("libero_90", 0)[40], SETTLE_STEPS)
    for target in [(0.0, -0.12, 1.2), (0.0, -0.12, 1.105)]:  # into the drawer, from above
        for _ in range(20):
            move = np.clip((target - replica.sample.eef_pos) / 0.05, -1.0, 1.0)
            replica.step(np.array([[*move, 0.0, 0.0, 0.0, 1.0]]))  # with the gripper closed
    assert np.abs(replica.sample.eef_pos - target).max() < 0.015
    assert replica.state().qpos[DRAWER_JOINT] < -0.13
    assert play(replica, CloseTopDrawer(), max_steps=60).success


@pytest.mark.parametrize(
    ("facing", "outward"), [(FACING_ROBOT_LEFT, 1.0), (FACING_ROBOT_RIGHT, -1.0)], ids=["left", "right"]
)
class TestCloseTopDrawer:
    """The drawer is open by 0.15, so its panel stands 0.228 and the finger's tip 0.065 further out."""

    def test_on_its_line_pushes_at_full_speed(self, facing, outward) -> None:
        action = act(facing, lateral=0.02, outward=0.293, up=0.208)
        assert np.allclose(action, [0.0, -outward, 0.0, 0.0, 0.0, 0.0, -1.0], atol=1e-6)

    def test_off_its_line_keeps_its_distance(self, facing, outward) -> None:
        action = act(facing, lateral=0.105, outward=0.293 + 0.015, up=0.208)
        assert action[1] == pytest.approx(0.0, abs=1e-6)
        assert action[0] == outward  # 0.03 to go, back to the panel's middle

    def test_too_close_to_the_panel_backs_off_while_it_descends(self, facing, outward) -> None:
        action = act(facing, lateral=0.0, outward=0.293, up=0.238)
        assert action[1] == pytest.approx(outward * 0.015 / 0.06, abs=1e-6)  # aims 0.015 out, 0.06 down
        assert action[2] == -1.0

    def test_behind_the_panel_climbs_before_it_moves_out(self, facing, outward) -> None:
        low = act(facing, lateral=0.0, outward=0.20, up=0.20)
        assert np.allclose(low[:3], [0.0, 0.0, 1.0])
        high = act(facing, lateral=0.0, outward=0.20, up=0.25)
        assert np.sign(high[1]) == outward
        assert high[2] > 0.0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("angle", [0.3, -0.3])
def test_rotates_back_to_straight_down(axis, angle) -> None:
    tilt = np.zeros(4)
    tilt[axis], tilt[3] = np.sin(angle / 2), np.cos(angle / 2)
    action = act(
        FACING_ROBOT_LEFT, lateral=0.0, outward=0.3, up=0.208, quat=quat_product(tilt, STRAIGHT_DOWN)
    )
    expected = np.zeros(3)
    expected[axis] = -np.sign(angle) * (0.3 - 0.06) / 0.5  # leaves a tilt of 0.06 alone; 0.5 rad a unit
    assert np.allclose(action[3:6], expected, atol=1e-6)


def test_rotation_does_not_depend_on_the_sign_of_the_quaternion() -> None:
    quat = quat_product((0.1, 0.0, 0.0, np.sqrt(0.99)), STRAIGHT_DOWN)
    at = {"lateral": 0.0, "outward": 0.3, "up": 0.208}
    assert np.allclose(
        act(FACING_ROBOT_LEFT, **at, quat=quat), act(FACING_ROBOT_LEFT, **at, quat=-quat), atol=1e-6
    )


def test_a_task_without_an_expert_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"libero_10 task 0.*in\(alphabet_soup_1.* one\s+predicate"):
        make_expert(libero_tasks.get_task("libero_10", 0))


def test_a_longer_instruction_is_not_taken_for_the_short_one() -> None:
    """libero_90 task 1 goes on "... and put the black bowl on top of it"."""
    with pytest.raises(UnknownNameError):
        make_expert(libero_tasks.get_task("libero_90", 1))


def test_a_scene_without_the_cabinet_is_an_error() -> None:
    state = make_state(FACING_ROBOT_LEFT)
    renamed = SimState(**{**vars(state), "body_names": ("world", "stove_main", "stove_button")})
    with pytest.raises(ValueError, match="_cabinet_top"):
        CloseTopDrawer().act(make_observation((0.0, 0.0, 1.0)), renamed)


def act(facing, *, lateral, outward, up, quat=STRAIGHT_DOWN):
    """The expert's action with the end effector at a place given in the cabinet's frame."""
    state = make_state(facing)
    turn = -1.0 if facing == FACING_ROBOT_LEFT else 1.0
    eef_pos = state.body_xpos[1] + [turn * lateral, -turn * outward, up]
    action = CloseTopDrawer().act(make_observation(eef_pos, quat), state)
    assert action.shape == (7,)
    assert action.dtype == np.float32
    return action


def make_observation(eef_pos, quat=STRAIGHT_DOWN):
    return {
        "robot0_eef_pos": np.array(eef_pos),
        "robot0_eef_quat": np.array(quat),
        "robot0_gripper_qpos": np.array([0.04, -0.04]),
    }


def make_state(facing) -> SimState:
    """A cabinet at (0.1, -0.3, 0.9) whose top drawer is open by 0.15."""
    cabinet = np.array([0.1, -0.3, 0.9])
    open_by = np.array([0.0, 0.15 if facing == FACING_ROBOT_LEFT else -0.15, 0.0])
    positions = np.array([np.zeros(3), cabinet, cabinet + open_by])
    return SimState(
        time=0.5,
        qpos=np.array([-0.15]),
        qvel=np.zeros(1),
        body_pos=np.array([np.zeros(3), cabinet, np.zeros(3)]),
        body_quat=np.array([(1.0, 0.0, 0.0, 0.0), facing, (1.0, 0.0, 0.0, 0.0)]),
        body_xpos=positions,
        body_xquat=np.array([(1.0, 0.0, 0.0, 0.0), facing, facing]),
        body_names=("world", "oak_cabinet_1_main", "oak_cabinet_1_cabinet_top"),
    )


def quat_product(first, second):
    """Hamilton's product of quaternions (xyzw): the rotation ``second``, then ``first``."""
    a, b = np.asarray(first), np.asarray(second)
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.array([*vector, a[3] * b[3] - a[:3] @ b[:3]])
