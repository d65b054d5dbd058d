"""What differs between versions of MuJoCo, held against what MuJoCo itself says; passes on each of them."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ttrl_env.engines.mujoco import mujoco_c
from ttrl_env.engines.mujoco.versions import (
    divergence_warnings,
    forward_warms_solver,
    inertia,
    inertia_address,
    require_supported,
)
from ttrl_env.errors import UnsupportedVersionError

TREES = """
<mujoco>
  <worldbody>
    <body><joint axis="0 1 0"/><geom size=".1" pos=".2 0 0"/>
      <body pos=".3 0 0"><joint axis="0 0 1"/><geom size=".1" pos=".1 .1 0"/>
        <body pos=".2 0 0"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom size=".1" pos="0 .1 .1"/></body>
        <body pos="0 .2 0"><joint type="slide" axis="0 0 1"/><geom size=".1"/></body>
      </body>
    </body>
    <body pos="0 0 2"><freejoint/><geom type="box" size=".1 .2 .3" pos=".1 0 0"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(TREES)


def test_the_inertia_is_found_where_mujoco_keeps_it(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    data.qpos[:4] = [0.3, -0.5, 0.7, 0.2]
    mujoco.mj_forward(model, data)
    # row k: the inertia times the k-th unit vector
    dense = np.zeros((model.nv, model.nv))
    for dof in range(model.nv):
        unit = np.zeros(model.nv)
        unit[dof] = 1.0
        mujoco.mj_mulM(model, data, dense[dof], unit)
    for row in range(model.nv):
        for column in range(row + 1):
            address = inertia_address(model, row, column)
            element = inertia(data)[address] if address >= 0 else 0.0
            assert element == pytest.approx(dense[row, column], abs=1e-12), (row, column)


def test_a_model_survives_its_binary_form(model: mujoco.MjModel) -> None:
    again = mujoco_c.load_model(mujoco_c.save_model(model._address))
    np.testing.assert_array_equal(again.body_inertia, model.body_inertia)
    assert again.names == model.names
    with pytest.raises(ValueError, match=f"not a model in the binary form of MuJoCo {mujoco.__version__}"):
        mujoco_c.load_model(np.zeros(1000, dtype=np.uint8))


def test_whether_a_forward_pass_changes_the_next_step_is_told_rightly() -> None:
    model = mujoco.MjModel.from_xml_string(
        TREES.replace("<worldbody>", '<worldbody><geom type="plane" size="9 9 1"/>')
    )
    ends = []
    for num_forwards in (0, 1):
        data = mujoco.MjData(model)
        data.qpos[6] = 0.28  # the box stands a little in the floor
        for _ in range(50):
            for _ in range(num_forwards):
                mujoco.mj_forward(model, data)
            mujoco.mj_step(model, data)
        ends.append(data.qpos.copy())
    assert forward_warms_solver() == (ends[0] != ends[1]).any()


def test_divergence_is_counted_under_its_name(model: mujoco.MjModel) -> None:
    data = mujoco.MjData(model)
    counts = divergence_warnings(data)
    assert counts.tolist() == [0, 0, 0]
    for index, array in enumerate((data.qpos, data.qvel)):
        mujoco.mj_resetData(model, data)
        array[0] = np.nan
        mujoco.mj_step(model, data)
        assert counts[index] == 1


def test_versions_outside_the_range_are_refused_with_the_command() -> None:
    for version in ("3.3.2", "3.3.7", "3.10.0", "3.17.0", "4.0.0", "4.1.2", mujoco.__version__):
        require_supported(version)
    for version in ("2.3.7", "3.2.3", "3.3.1", "3.4.0", "3.9.0", "5.0.0"):
        with pytest.raises(
            UnsupportedVersionError,
            match=rf"MuJoCo {version}: .* 3.3.2 to below 3.4 and 3.10 to below 5.* pip install mujoco==3.3.2",
        ):
            require_supported(version)
