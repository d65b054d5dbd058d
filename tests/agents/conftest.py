from __future__ import annotations

import pytest
import torch

from tests.agents.reach import make_reach_env, make_tiny_policy
from ttrl_env.agents.policies import TinyVLA
from ttrl_env.vector_env import TTRLVectorEnv

torch.set_num_threads(1)  # networks this small lose more to thread barriers than they gain


@pytest.fixture
def reach_env() -> TTRLVectorEnv:
    return make_reach_env()


@pytest.fixture
def tiny_policy() -> TinyVLA:
    return make_tiny_policy()
