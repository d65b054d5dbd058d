"""Names and values of LIBERO's HDF5 files that both sides know, those that write and those that read."""

from __future__ import annotations

from typing import Literal, TypeAlias

IMAGE_KEYS = {"agentview": "agentview_rgb", "robot0_eye_in_hand": "eye_in_hand_rgb"}
"""LIBERO's names of the cameras' images in its files."""

BEFORE_ACTION = "before_action"
"""Value of the attribute ``observations`` in files whose observations are those an action answers."""

Pairing: TypeAlias = Literal["auto", "before", "after"]
"""Which action an observation belongs to: see :func:`~.reading.read_episodes`."""
