"""Passes of a policy that count for nothing, while other processes still have some that do.

See :meth:`ttrl_env.agents.distributed.processes.World.in_step`.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from ttrl_env.agents.policies import PolicyInputs, TokenPolicy
from ttrl_env.engines.interface import ACTION_DIM
from ttrl_env.vector_env import TTRLVectorEnv


def blank_inputs(env: TTRLVectorEnv, policy: TokenPolicy) -> PolicyInputs:
    """The policy's inputs of one row that shows nothing."""
    space = env.single_observation_space
    assert isinstance(space, spaces.Dict)
    blank = {key: np.zeros((1, *(part.shape or ())), dtype=part.dtype) for key, part in space.spaces.items()}
    return policy.prepare(blank, env.instructions[:1])


def sample_spare(policy: TokenPolicy, inputs: PolicyInputs) -> None:
    """Sample a chunk for the first row of ``inputs`` and forget it."""
    seeds = torch.zeros(1, policy.chunk_steps * ACTION_DIM, dtype=torch.int64)
    policy.sample({key: tensor[:1] for key, tensor in inputs.items()}, torch.ones(1), seeds, step=0)
