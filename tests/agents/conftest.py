"""A task and a policy that are learnt in seconds, and a checkpoint; imported by the tests that use them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ttrl_env.agents.policies import TinyVLA
    from ttrl_env.vector_env import TTRLVectorEnv


@pytest.fixture
def reach_env() -> TTRLVectorEnv:
    from tests.agents.reach import make_reach_env

    return make_reach_env()


@pytest.fixture
def tiny_policy() -> TinyVLA:
    from tests.agents.reach import make_tiny_policy

    return make_tiny_policy()


@pytest.fixture
def own_checkpoint(tmp_path: Path) -> Path:
    """A tiny OpenVLA checkpoint that a test may break."""
    from tests.agents.policies.tiny_openvla import write_checkpoint

    return write_checkpoint(tmp_path / "broken")


@pytest.fixture
def ample_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every preset fits, whatever else runs on this one."""
    from ttrl_env.machine import memory

    monkeypatch.setattr(memory, "free_memory", lambda: 10**12)
