"""Token sampling and token log-probabilities for batches in which every row has its own temperature.

Three implementations agree: a plain PyTorch reference (the specification), a CPU path and Triton kernels.
See the README beside this file for the maths and the random-number contract.
"""

from __future__ import annotations

from ttrl_env.kernels import operators as operators  # registers them with PyTorch
from ttrl_env.kernels.logprobs import token_logprobs
from ttrl_env.kernels.logprobs_hidden import token_logprobs_from_hidden
from ttrl_env.kernels.sampling import sample_tokens
from ttrl_env.kernels.sampling_hidden import sample_from_hidden
from ttrl_env.kernels.sampling_types import SampledTokens

__all__ = [
    "SampledTokens",
    "sample_from_hidden",
    "sample_tokens",
    "token_logprobs",
    "token_logprobs_from_hidden",
]
