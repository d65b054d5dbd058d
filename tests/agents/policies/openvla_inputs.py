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


def observations(rows: int, seed: int = 0, size: int = 32) -> dict[str, np.ndarray]:
    """Smooth random images: noise alone would not survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (rows, 4, 4, 3), dtype=np.uint8)
    return {"agentview_image": coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2)}
