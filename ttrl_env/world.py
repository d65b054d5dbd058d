"""Which LIBERO this is. Published checkpoints, data and tables come from one; MuJoCo decides which is simulated.

MuJoCo 3.3.3 draws six of LIBERO's textures darker, MuJoCo 3.4 rests boxes on each other otherwise, and a
policy that has learnt in one world fails in another without an error. So the world has a name: the
version of MuJoCo. Every bundle, checkpoint, demonstration and report carries it.

Light to import: neither MuJoCo nor LIBERO is needed to say which version is installed.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Sequence
from typing import Literal, TypeAlias

PUBLISHED_MUJOCO = "3.3.2"
"""The version whose LIBERO is the published one; what an install gets."""

INSTALL_PUBLISHED = f"pip install mujoco=={PUBLISHED_MUJOCO}"

CAMERAS: tuple[Literal["agentview", "robot0_eye_in_hand"], ...] = ("agentview", "robot0_eye_in_hand")
IMAGE_SIZE = 256
INIT_STATE_ID = 0
"""What is compared between worlds: both cameras' first pictures after this initial state has settled."""

_ROBOT = ("robot0_", "gripper0_", "mount0_")


def scene_bodies(names: Sequence[str]) -> list[int]:
    """Indices of the bodies that are neither the world nor the robot."""
    return [index for index, name in enumerate(names) if index and not name.startswith(_ROBOT)]
