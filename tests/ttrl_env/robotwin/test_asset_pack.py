from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests.ttrl_env.robotwin.asset_pack import write_asset_pack


def test_every_name_of_the_embodiment_is_in_its_urdf(tmp_path: Path) -> None:
    folder = write_asset_pack(tmp_path) / "assets/embodiments/aloha-agilex"
    config = yaml.safe_load((folder / "config.yml").read_text())
    robot = ElementTree.parse(folder / config["urdf_path"]).getroot()
    links = {link.get("name") for link in robot.iter("link")}
    joints = {joint.get("name"): joint.get("type") for joint in robot.iter("joint")}

    for arm in (0, 1):
        assert [joints[name] for name in config["arm_joints_name"][arm]] == ["revolute"] * 6
        gripper = config["gripper_name"][arm]
        assert joints[gripper["base"]] == joints[gripper["mimic"][0][0]] == "prismatic"
        assert config["ee_joints"][arm] in joints
        assert config["move_group"][arm] in links
    assert {"left_camera", "right_camera"} <= links
    ends = {end.get("link") for kind in ("parent", "child") for end in robot.iter(kind)}
    assert ends == links  # no link is left over
