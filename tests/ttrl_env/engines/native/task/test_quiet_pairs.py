"""Pairs of bodies that are left out of collision detection: they never touch where they are left out."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest

from ttrl_env.engines.mujoco.layouts import model_layout
from ttrl_env.engines.native.task.quiet_pairs import QuietModel, find_quiet_pairs

CABINET = """
<mujoco><worldbody>
  <geom type="plane" size="2 2 .1"/>
  <body name="base" pos=".1 .2 .3" euler="0 0 30">
    <geom type="box" size=".1 .01 .1" pos="0 .11 0"/>
    <geom type="box" size=".1 .12 .01" pos="0 0 -.11"/>
    <geom type="box" size=".1 .12 .01" pos="0 0 .11"/>
    <body name="low">
      <joint name="low" type="slide" axis="0 1 0" range="-.16 .01"/>
      <geom type="box" size=".09 .09 .045" pos="0 0 -.05"/>
    </body>
    <body name="high">
      <joint name="high" type="slide" axis="0 1 0" range="-.16 .01"/>
      <geom type="box" size=".09 .09 .045" pos="0 0 .05"/>
    </body>
    <body name="door" pos="0 -.2 0"><joint type="hinge"/><geom type="box" size=".1 .01 .1"/></body>
  </body>
  <body name="ball" pos=".1 .2 .6"><freejoint/><geom type="box" size=".05 .05 .05"/></body>
</worldbody></mujoco>
"""


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(CABINET)


def pairs_of(model: mujoco.MjModel) -> set[tuple[str, str]]:
    signatures = find_quiet_pairs(model).signatures
    return {(model.body(int(s) >> 16).name, model.body(int(s) & 0xFFFF).name) for s in signatures}


def test_only_what_slides_and_what_stands_still_is_left_out(model: mujoco.MjModel) -> None:
    assert pairs_of(model) == {("base", "low"), ("base", "high"), ("low", "high")}


def test_drawers_that_overlap_are_not_left_out() -> None:
    model = mujoco.MjModel.from_xml_string(CABINET.replace('pos="0 0 .05"', 'pos="0 0 .03"'))
    assert pairs_of(model) == {("base", "low"), ("base", "high")}


def test_a_drawer_that_touches_at_rest_is_not_left_out() -> None:
    model = mujoco.MjModel.from_xml_string(CABINET.replace('pos="0 .11 0"', 'pos="0 .09 0"'))
    assert pairs_of(model) == set()


def test_within_the_intervals_there_is_no_contact_and_beyond_there_is(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    pairs = find_quiet_pairs(model)
    assert (pairs.lowest < -0.2).all()  # out of the cabinet, as far as the joint allows and further
    np.testing.assert_allclose(pairs.highest, 0.01, atol=1e-4)  # the drawer's back meets the wall
    left_out = pairs_of(model)
    corners = np.linspace(pairs.lowest, pairs.highest, 9)
    for low, high in itertools.product(corners[:, 0], corners[:, 1]):
        data.qpos[pairs.joints] = low, high
        mujoco.mj_forward(model, data)
        assert not touching(model, data) & left_out
    data.qpos[pairs.joints] = pairs.highest + 1e-3
    mujoco.mj_forward(model, data)
    assert touching(model, data) >= {("base", "low"), ("base", "high")}


def touching(model: mujoco.MjModel, data: mujoco.MjData) -> set[tuple[str, str]]:
    bodies = np.sort(model.geom_bodyid[data.contact.geom], axis=1)
    return {(model.body(one).name, model.body(other).name) for one, other in bodies}


def test_the_quiet_model_goes_on_bit_for_bit(model: mujoco.MjModel) -> None:
    quiet = QuietModel(model, model_layout(model), find_quiet_pairs(model))
    full_data, quiet_data = mujoco.MjData(model), mujoco.MjData(model)
    step = mujoco_step()
    for data in (full_data, quiet_data):
        data.qvel[:2] = -0.3, -0.5  # the drawers open, the box falls on the cabinet
    for _ in range(400):
        step(model._address, full_data._address)
        step(quiet.address, quiet_data._address)
        np.testing.assert_array_equal(quiet_data.qpos, full_data.qpos)
        np.testing.assert_array_equal(quiet_data.qvel, full_data.qvel)
    assert full_data.ncon


def mujoco_step():
    import ctypes

    function = ctypes.CDLL(mujoco._functions.__file__).mj_step
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_void_p), None
    return function
