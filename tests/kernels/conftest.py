"""Runs each sampling test over every path: reference, CPU and Triton.

Without a GPU, Triton's interpreter runs the kernels on CPU tensors (``tests/conftest.py`` asks for it).
"""

from __future__ import annotations

import pytest
import torch

from tests.kernels.sampling_paths import make_inputs, sample_by_reference, sample_by_triton
from ttrl_env.kernels import sample_tokens


@pytest.fixture(params=["reference", "cpu", "triton"])
def sample(request):
    """``sample(logits, temperatures, seeds, step=0, window=None, greedy=None)``, CPU tensors in and out."""
    if request.param == "triton":
        pytest.importorskip("triton")
    return {"reference": sample_by_reference, "cpu": sample_tokens, "triton": sample_by_triton}[request.param]


@pytest.fixture
def sampling_inputs():
    """``sampling_inputs(rows, vocab, dtype, seed) -> (logits, temperatures, seeds)``."""
    return make_inputs


@pytest.fixture
def poisoned_memory():
    """PyTorch's uninitialised memory holds NaN, so that what is read before it is written shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before)
