from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agents.policies.openvla_inputs import load

if TYPE_CHECKING:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy


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
