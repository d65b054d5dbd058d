"""Bounds of an action: the limits of the arms' joints in the robot's URDF, and 0 to 1 for the grippers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from numpy.typing import NDArray

from ttrl_env.errors import MissingDependencyError
from ttrl_env.robotwin.assets import EMBODIMENT
from ttrl_env.robotwin.worker.layout import ACTION_DIM

ARM_JOINTS = 6
"""Joints of an arm, without its gripper."""


def joint_limits(assets: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest value of each number of an action: ``[14]`` each, radians; grippers 0 to 1.

    Args:
        assets: the folder of :func:`ttrl_env.robotwin.assets.find_assets`.

    Raises:
        MissingDependencyError: the robot's description or its URDF is missing, or is of another robot.
    """
    description = assets / EMBODIMENT
    names, urdf = _described(description)
    limits = _limits(urdf)
    missing = [name for arm in names for name in arm if name not in limits]
    if missing:
        raise MissingDependencyError(
            f"assets: {description} names the joints {', '.join(missing)}, which {urdf} does not have"
        )
    bounds = [bound for arm in names for bound in (*(limits[name] for name in arm), (0.0, 1.0))]
    low, high = np.array(bounds, dtype=np.float64).reshape(ACTION_DIM, 2).T
    return low, high


def _described(description: Path) -> tuple[list[list[str]], Path]:
    """The joints' names of the left and of the right arm, and the robot's URDF."""
    try:
        content: Any = yaml.safe_load(description.read_text(encoding="utf-8"))
        names = [[str(name) for name in arm] for arm in content["arm_joints_name"]]
        urdf = description.parent / str(content["urdf_path"])
    except (OSError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MissingDependencyError(
            f"assets: {description} does not describe a robot ({type(error).__name__}: {error}); get the "
            f"assets again"
        ) from error
    if [len(arm) for arm in names] != [ARM_JOINTS] * 2:
        raise MissingDependencyError(
            f"assets: {description}: arm_joints_name: expected two arms of {ARM_JOINTS} joints, got {names}"
        )
    return names, urdf


def _limits(urdf: Path) -> dict[str, tuple[float, float]]:
    """Limits of a URDF's joints by name, radians; a joint without limits turns once around."""
    try:
        joints = ElementTree.parse(urdf).getroot().findall("joint")
        return {str(joint.get("name")): _limit(joint.find("limit")) for joint in joints}
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise MissingDependencyError(f"assets: {urdf} cannot be read as URDF ({error})") from error


def _limit(limit: ElementTree.Element | None) -> tuple[float, float]:
    if limit is None or limit.get("lower") is None or limit.get("upper") is None:
        return -math.pi, math.pi
    return float(limit.attrib["lower"]), float(limit.attrib["upper"])
