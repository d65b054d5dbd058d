"""Conversions between unit quaternions and rotation vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def axis_angle(quat: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Rotation vectors ``[T, 3]`` (axis times angle in [0, 2 pi)) of quaternions ``[T, 4]`` xyzw.

    Computed as in robosuite: the sign of the quaternion is not normalised.
    """
    scalar = np.clip(quat[:, 3:], -1.0, 1.0).astype(np.float64)
    sine = np.sqrt(1.0 - scalar**2)
    angle = 2.0 * np.arccos(scalar)
    return np.where(sine < 1e-8, 0.0, quat[:, :3] * angle / np.maximum(sine, 1e-8))


def quaternions(rotation_vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Unit quaternions ``[T, 4]`` (xyzw) of rotation vectors ``[T, 3]``, radians."""
    angle = np.linalg.norm(rotation_vectors, axis=1, keepdims=True)
    axis = rotation_vectors / np.maximum(angle, 1e-12)
    return np.concatenate([axis * np.sin(angle / 2), np.cos(angle / 2)], axis=1)
