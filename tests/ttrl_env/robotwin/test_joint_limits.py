from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ttrl_env.robotwin.asset_pack import JOINT_LIMIT, write_asset_pack
from ttrl_env.errors import MissingDependencyError
from ttrl_env.robotwin.assets import EMBODIMENT
from ttrl_env.robotwin.joint_limits import joint_limits


@pytest.fixture
def pack(tmp_path) -> Path:
    return write_asset_pack(tmp_path)


def test_bounds_are_the_joints_limits_and_those_of_the_grippers(pack) -> None:
    low, high = joint_limits(pack)
    np.testing.assert_array_equal(low, [*[-JOINT_LIMIT] * 6, 0, *[-JOINT_LIMIT] * 6, 0])
    np.testing.assert_array_equal(high, [*[JOINT_LIMIT] * 6, 1, *[JOINT_LIMIT] * 6, 1])


def test_each_joint_has_its_own_limits_and_one_without_turns_once_around(pack) -> None:
    urdf = pack / EMBODIMENT.parent / "robot.urdf"
    joints = "".join(
        f'<joint name="{arm}_joint{k}" type="revolute"><limit lower="{-k}" upper="{k / 2}"/></joint>'
        for arm in ("left", "right")
        for k in range(1, 6)
    )
    ends = '<joint name="left_joint6" type="continuous"/><joint name="right_joint6"><limit/></joint>'
    urdf.write_text(f"<robot>{joints}{ends}</robot>")
    low, high = joint_limits(pack)
    np.testing.assert_array_equal(low[7:13], [-1, -2, -3, -4, -5, -np.pi])
    np.testing.assert_array_equal(high[:6], [0.5, 1, 1.5, 2, 2.5, np.pi])


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.yml", "urdf_path: robot.urdf", "does not describe a robot"),
        ("config.yml", "- 3", "does not describe a robot"),
        ("config.yml", "a: [", "does not describe a robot"),
        ("config.yml", "{urdf_path: robot.urdf, arm_joints_name: [[a], [b]]}", "two arms of 6 joints"),
        ("robot.urdf", "<robot/>", "left_joint1.*which .*robot.urdf does not have"),
        ("robot.urdf", "<robot>", "cannot be read as URDF"),
        ("robot.urdf", None, "cannot be read as URDF"),
    ],
)
def test_assets_of_another_robot_are_refused_by_file(pack, file, content, said) -> None:
    place = pack / EMBODIMENT.parent / file
    place.unlink()
    if content is not None:
        place.write_text(content)
    with pytest.raises(MissingDependencyError, match=f"(?s)assets: .*{said}"):
        joint_limits(pack)
