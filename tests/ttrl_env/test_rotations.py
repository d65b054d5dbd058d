"""Quaternions and rotation vectors."""

from __future__ import annotations

import numpy as np

from ttrl_env.rotations import axis_angle, quaternions


def test_rotation_vectors_and_quaternions_are_inverse() -> None:
    vectors = np.array([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1], [3.0, 0.0, 0.0]])
    assert np.allclose(axis_angle(quaternions(vectors)), vectors)
