"""What tests of OpenVLA policies share: loading a tiny checkpoint, and observations to feed it with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ttrl_env.agents.config.choices import Decoding

if TYPE_CHECKING:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

INSTRUCTIONS = ["pick up the black bowl", "open", "close the top drawer of the cabinet"]


def load(folder: str | Path, decoding: Decoding | None = "parallel", **options: Any) -> OpenVLAPolicy:
    from ttrl_env.agents.policies import PolicyOptions, load_policy
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

    policy = load_policy(folder, PolicyOptions(decoding=decoding, **options))
    assert isinstance(policy, OpenVLAPolicy)
    return policy


def two_arm_observations(
    rows: int, seed: int = 0, height: int = 30, width: int = 40
) -> dict[str, np.ndarray]:
    """What RoboTwin shows: three upright images and the joints of both arms."""
    rng = np.random.default_rng(seed)
    images = {
        f"{camera}_image": rng.integers(0, 256, (rows, height, width, 3), dtype=np.uint8)
        for camera in ("head_camera", "left_camera", "right_camera")
    }
    return {**images, "joint_state": rng.uniform(-2, 2, (rows, 14))}


def arm_observations(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What LIBERO shows, state and wrist camera included."""
    rng = np.random.default_rng(seed)
    quaternions = rng.normal(size=(rows, 4))
    return {
        **observations(rows, seed),
        "robot0_eye_in_hand_image": observations(rows, seed + 1)["agentview_image"],
        "robot0_eef_pos": rng.uniform(-1, 1, (rows, 3)),
        "robot0_eef_quat": quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
        "robot0_gripper_qpos": rng.uniform(-0.05, 0.05, (rows, 2)),
    }


def observations(rows: int, seed: int = 0, size: int = 32) -> dict[str, np.ndarray]:
    """Smooth random images: noise alone would not survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (rows, 4, 4, 3), dtype=np.uint8)
    return {"agentview_image": coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)}
