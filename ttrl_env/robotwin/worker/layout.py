"""The observation arrays that the workers share with their parent through one unnamed file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .interface import Settings

ACTION_DIM = 14
"""Joint targets in radians: left arm (6), left gripper (0 to 1), right arm (6), right gripper."""

CAMERAS = ("head_camera", "left_camera", "right_camera")
"""The runtime's cameras: one above the table, one on each wrist."""

JOINT_STATE = "joint_state"
"""Observation key of the joints' positions, laid out like an action."""


def image_key(camera: str) -> str:
    """Observation key of a camera's images."""
    return f"{camera}_image"


def layout(num_rows: int, settings: Settings) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Key, shape and dtype of every observation array: images upright uint8, joints float64."""
    for camera in settings.cameras:
        yield image_key(camera), (num_rows, settings.image_height, settings.image_width, 3), "uint8"
    yield JOINT_STATE, (num_rows, ACTION_DIM), "float64"


def attach(fd: int, num_bytes: int, places: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """The arrays behind a descriptor, each at a place: ``{"key", "shape", "dtype", "offset"}``."""
    memory = mmap.mmap(fd, num_bytes)
    arrays = {}
    for place in places:
        count = int(np.prod(place["shape"]))
        flat = np.frombuffer(memory, place["dtype"], count, place["offset"])
        arrays[place["key"]] = flat.reshape(place["shape"])
    return arrays
