from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ttrl_env.agents.config.choices import Decoding

if TYPE_CHECKING:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

INSTRUCTIONS = ["pick up the black bowl", "open", "close the top drawer of the cabinet"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny published-layout checkpoint; not to be written to."""
    from tests.agents.policies.tiny_openvla import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("openvla"))


@pytest.fixture(params=["parallel", "autoregressive"])
def policy(request: pytest.FixtureRequest, checkpoint: Path) -> OpenVLAPolicy:
    return load(checkpoint, request.param)


@pytest.fixture
def parallel(checkpoint: Path) -> OpenVLAPolicy:
    return load(checkpoint, "parallel")


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
