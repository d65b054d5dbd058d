"""The cameras of each world that policies play in, and how their images are held.

An environment shows the image of a camera as the observation ``<camera>_image``. A policy names the
cameras it reads (``policy.cameras``), all of one world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import PolicyError
from ttrl_env.robotwin.config import RoboTwinCamera

PolicyCamera: TypeAlias = Literal[CameraName, RoboTwinCamera]

World: TypeAlias = Literal["LIBERO", "RoboTwin"]

WORLDS: Mapping[World, tuple[PolicyCamera, ...]] = {
    "LIBERO": get_args(CameraName),
    "RoboTwin": get_args(RoboTwinCamera),
}
"""The cameras of each world."""

_UPSIDE_DOWN: Mapping[World, bool] = {"LIBERO": True, "RoboTwin": False}
"""Whether a world's images are upside down: LIBERO's are as OpenGL draws them."""


def world_of(cameras: Sequence[str]) -> World:
    """The world that has ``cameras``, at least one.

    Raises:
        PolicyError: no world has all of them.
    """
    for world, known in WORLDS.items():
        if set(cameras) <= set(known):
            return world
    there = "; ".join(f"{', '.join(known)} ({world})" for world, known in WORLDS.items())
    raise PolicyError(f"cameras: expected those of one world, {there}; got {', '.join(cameras)}")


def libero_cameras(cameras: Sequence[PolicyCamera]) -> tuple[CameraName, ...]:
    """``cameras`` of a policy if LIBERO has them, else raise.

    Raises:
        PolicyError: names the world that the policy is for.
    """
    _require_world(cameras, "LIBERO")
    return tuple(cameras)  # type: ignore[arg-type]  # of LIBERO, as was just checked


def robotwin_cameras(cameras: Sequence[PolicyCamera]) -> tuple[RoboTwinCamera, ...]:
    """``cameras`` of a policy if RoboTwin has them, else raise.

    Raises:
        PolicyError: names the world that the policy is for.
    """
    _require_world(cameras, "RoboTwin")
    return tuple(cameras)  # type: ignore[arg-type]  # of RoboTwin, as was just checked


def image_of(observations: Mapping[str, NDArray[Any]], camera: PolicyCamera) -> NDArray[np.uint8]:
    """Images ``[rows, H, W, 3]`` uint8 of ``camera``, as policies are trained on them.

    LIBERO's are rotated by 180 degrees, not mirrored: so are the published training data.

    Raises:
        ValueError: ``observations`` hold no images of that camera.
    """
    key = f"{camera}_image"
    if key not in observations:
        raise ValueError(f"observations: the policy needs {key!r}, got {sorted(observations)}")
    images = observations[key]
    return images[:, ::-1, ::-1] if _UPSIDE_DOWN[world_of([camera])] else images


def _require_world(cameras: Sequence[PolicyCamera], expected: World) -> None:
    """Raise :class:`PolicyError` unless a policy's cameras are those of the ``expected`` world."""
    if (world := world_of(cameras)) != expected:
        raise PolicyError(
            f"policy.cameras: expected cameras of {expected} ({', '.join(WORLDS[expected])}), the policy "
            f"reads {', '.join(cameras)}, of {world}; set env.suite to a suite of {world}"
        )
