"""Names and values of LIBERO's HDF5 files that both writing and reading use."""

from __future__ import annotations

from typing import Literal, TypeAlias

IMAGE_KEYS = {"agentview": "agentview_rgb", "robot0_eye_in_hand": "eye_in_hand_rgb"}
"""LIBERO's name in its files of each camera's images."""

BEFORE_ACTION = "before_action"
"""Value of the attribute ``observations`` in files that pair an action with the observation before it."""

Pairing: TypeAlias = Literal["auto", "before", "after"]
"""Whether a file's observations come before or after their actions: see :func:`~.reading.read_episodes`."""
