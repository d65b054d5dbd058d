"""A folder of assets, made of boxes and plain colours, with which the RoboTwin runtime plays its box tasks.

RoboTwin's own assets are several gigabytes that no test can fetch. ``stack_blocks_two``,
``blocks_ranking_rgb``, ``handover_block`` and others build their objects from boxes and need no more:

    assets/embodiments/aloha-agilex/         config.yml, curobo_left_tmp.yml, curobo_right_tmp.yml, robot.urdf
    assets/background_texture/{seen,unseen}/ one plain colour a file
    assets/objects/                          same.json, objaverse/list.json, objaverse/plain-box/0/model.urdf

The robot is two arms of six joints and a gripper of two fingers each, in the places of RoboTwin's ARX arms.
Lengths are in metres, angles in radians. In the robot's frame x points at the table and y to its left.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

JOINT_LIMIT = 3.1  # radians, every arm joint
FINGER_OPENING = 0.045  # metres between closed and open, each finger
HOME = [0.0, -1.1, 1.9, 0.77, 0.0, 0.0]  # the gripper points down, 14 cm above the table's edge
ARMS = ("left", "right")

_COLOURS = {"seen": ["#c8b090", "#90a8c0", "#a0b890"], "unseen": ["#b89898", "#98b0a8", "#b0a8c8"]}


def write_asset_pack(root: Path) -> Path:
    """Write the assets below `root` and return it: the folder that ``ROBOTWIN_ASSETS_ROOT`` names."""
    assets = root / "assets"
    _write_embodiment(assets / "embodiments" / "aloha-agilex")
    _write_textures(assets / "background_texture")
    _write_clutter(assets / "objects")
    return root


def _write_embodiment(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "robot.urdf").write_text(robot_urdf())
    (folder / "config.yml").write_text(yaml.safe_dump(embodiment_config()))
    for arm in ARMS:  # read and checked by the runtime whichever planner it uses
        (folder / f"curobo_{arm}_tmp.yml").write_text(
            yaml.safe_dump({"robot_cfg": {}, "planner": {"frame_bias": [0, 0, 0]}})
        )


def embodiment_config() -> dict[str, Any]:
    """The embodiment's ``config.yml``: names in the URDF, drives, and where robot and head camera stand."""
    return {
        "urdf_path": "robot.urdf",
        "joint_stiffness": 1000,
        "joint_damping": 200,
        "gripper_stiffness": 1000,
        "gripper_damping": 200,
        "move_group": [f"{arm}_link6" for arm in ARMS],
        "ee_joints": [f"{arm}_joint6" for arm in ARMS],
        "arm_joints_name": [[f"{arm}_joint{i}" for i in range(1, 7)] for arm in ARMS],
        "gripper_name": [{"base": f"{arm}_finger1", "mimic": [[f"{arm}_finger2", 1.0, 0.0]]} for arm in ARMS],
        "gripper_bias": 0.12,
        "gripper_scale": [0.0, FINGER_OPENING],
        "homestate": [HOME, HOME],
        "robot_pose": [[0, -0.65, 0, 0.70710678, 0, 0, 0.70710678]],
        "planner": "mplib_RRT",
        "dual_arm": True,
        "rotate_lim": [0, 0.7],
        "grasp_perfect_direction": ["front_right", "front_left"],
        "static_camera_list": [
            {
                "name": "head_camera",
                "type": "D435",
                "position": [-0.032, -0.45, 1.35],
                "forward": [0, 0.6, -0.8],
                "left": [-1, 0, 0],
            }
        ],
    }


def robot_urdf() -> str:
    """Two arms on a common base."""
    parts = [_link("base", size=(0.2, 0.8, 0.1), centre=(0, 0, 0.05), colour="grey")]
    for arm, side in zip(ARMS, (0.3, -0.3), strict=True):
        parts += _arm(arm, side)
    return f'<robot name="two_arms">\n{"".join(parts)}</robot>\n'


def _arm(arm: str, side: float) -> list[str]:
    """Column, yaw, three pitches, yaw and roll; then two fingers and the wrist camera."""
    links = [f"{arm}_column"] + [f"{arm}_link{i}" for i in range(1, 7)]
    parts = [
        _link(links[0], size=(0.1, 0.1, 0.8), centre=(0, 0, 0.4), colour="grey"),
        _joint(f"{arm}_mount", "fixed", "base", links[0], origin=(0.1, side, 0.1)),
        _link(links[1], size=(0.08, 0.08, 0.05), centre=(0, 0, 0.025), colour="dark"),
        _link(links[2], size=(0.3, 0.05, 0.05), centre=(0.15, 0, 0), colour="light"),
        _link(links[3], size=(0.3, 0.04, 0.04), centre=(0.15, 0, 0), colour="light"),
        _link(links[4], size=(0.03, 0.04, 0.04), centre=(0.015, 0, 0), colour="dark"),
        _link(links[5], size=(0.03, 0.04, 0.04), centre=(0.015, 0, 0), colour="light"),
        _link(links[6], size=(0.03, 0.10, 0.04), centre=(0.015, 0, 0), colour="dark"),
    ]
    yaw, pitch, roll = (0, 0, 1), (0, 1, 0), (1, 0, 0)
    origins = [(0, 0, 0.8), (0, 0, 0.05), (0.3, 0, 0), (0.3, 0, 0), (0.03, 0, 0), (0.03, 0, 0)]
    for index, (axis, origin) in enumerate(
        zip([yaw, pitch, pitch, pitch, yaw, roll], origins, strict=True), start=1
    ):
        limits = (-JOINT_LIMIT, JOINT_LIMIT)
        parts.append(
            _joint(f"{arm}_joint{index}", "revolute", links[index - 1], links[index], origin, axis, limits)
        )
    for finger, direction in ((1, 1), (2, -1)):
        name = f"{arm}_finger{finger}"
        parts.append(
            _link(f"{name}_link", size=(0.1, 0.01, 0.03), centre=(0.05, 0.005 * direction, 0), colour="light")
        )
        opening = (0, FINGER_OPENING)
        parts.append(
            _joint(name, "prismatic", links[6], f"{name}_link", (0.03, 0, 0), (0, direction, 0), opening)
        )
    parts.append(_link(f"{arm}_camera", size=(0.01, 0.03, 0.01), centre=(-0.02, 0, 0), colour="grey"))
    parts.append(_joint(f"{arm}_camera_mount", "fixed", links[6], f"{arm}_camera", origin=(-0.02, 0, 0.06)))
    return parts


def _link(name: str, size: tuple[float, ...], centre: tuple[float, ...], colour: str) -> str:
    """A box of 1 kg."""
    rgba = {"grey": "0.5 0.5 0.5 1", "dark": "0.2 0.2 0.25 1", "light": "0.8 0.8 0.85 1"}[colour]
    shape = f'<origin xyz="{_numbers(centre)}"/><geometry><box size="{_numbers(size)}"/></geometry>'
    return (
        f'  <link name="{name}">\n'
        f'    <inertial><origin xyz="{_numbers(centre)}"/><mass value="1"/>'
        '<inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>\n'
        f'    <visual>{shape}<material name="{colour}"><color rgba="{rgba}"/></material></visual>\n'
        f"    <collision>{shape}</collision>\n"
        "  </link>\n"
    )


def _joint(
    name: str,
    kind: str,
    parent: str,
    child: str,
    origin: tuple[float, ...],
    axis: tuple[int, ...] = (1, 0, 0),
    limits: tuple[float, float] = (0, 0),
) -> str:
    lower, upper = limits
    moves = (
        f'<axis xyz="{_numbers(axis)}"/><limit lower="{lower}" upper="{upper}" effort="1000" velocity="3"/>'
    )
    moves = "" if kind == "fixed" else moves
    ends = f'<parent link="{parent}"/><child link="{child}"/><origin xyz="{_numbers(origin)}"/>'
    return f'  <joint name="{name}" type="{kind}">{ends}{moves}</joint>\n'


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(str(value) for value in values)


def _write_textures(folder: Path) -> None:
    for kind, colours in _COLOURS.items():
        (folder / kind).mkdir(parents=True)
        for index, colour in enumerate(colours):
            Image.new("RGB", (16, 16), colour).save(folder / kind / f"{index}.png")


def _write_clutter(folder: Path) -> None:
    """One object that `demo_randomized` strews over the table: a cube of 4 cm, and the lists that name it."""
    model = folder / "objaverse" / "plain-box" / "0"
    model.mkdir(parents=True)
    cube = _link("cube", size=(0.04, 0.04, 0.04), centre=(0, 0, 0.02), colour="grey")
    (model / "model.urdf").write_text(f'<robot name="plain-box">\n{cube}</robot>\n')
    sizes = {
        "z_max": {"plain-box_0": 0.04},
        "radius": {"plain-box_0": 0.03},
        "z_offset": {"plain-box_0": 0.0},
    }
    catalogue = {"item_names": ["plain-box"], "list_of_items": {"plain-box": ["0"]}, **sizes}
    (folder / "objaverse" / "list.json").write_text(json.dumps(catalogue))
    (folder / "same.json").write_text("{}")
