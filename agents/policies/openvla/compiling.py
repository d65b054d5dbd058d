"""Compiles the transformer blocks, for GPUs that would otherwise wait for Python."""

from __future__ import annotations

import os
import shutil

import torch

from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.errors import MissingDependencyError

_COMPILERS = ("c++", "g++", "clang++")


def require_compiler() -> None:
    """Raise :class:`MissingDependencyError` unless there is the C++ compiler that ``torch.compile`` calls."""
    candidates = [os.environ["CXX"]] if "CXX" in os.environ else [*_COMPILERS]
    if not any(map(shutil.which, candidates)):
        raise MissingDependencyError(
            f"policy.openvla.compile: needs a C++ compiler, found none of {', '.join(candidates)}. Install "
            f"one (apt-get install g++), name it in CXX, or leave the option out"
        )


def compile_blocks(model: OpenVLAModel, backend: str = "inductor") -> None:
    """Have ``torch.compile`` compile every transformer block that is used, when it is first called.

    The second number of rows has it compiled once more, for any number. PyTorch's limit of recompilations
    counts the blocks of both towers together, with and without gradients and adapters; it is raised.
    """
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 32)
    blocks = [block for tower in model.vision_backbone.towers for block in tower.used_blocks]
    for block in (*blocks, *model.language_model.model.layers):
        block.compile(backend=backend)
