"""Inputs of the sampling tests, and the paths that sample from them: reference and Triton."""

from __future__ import annotations

import warnings

import torch

from ttrl_env.kernels import SampledTokens
from ttrl_env.kernels.sampling_reference import sample_tokens_reference
from ttrl_env.kernels.sampling_types import SamplingInputs

HAS_GPU = torch.cuda.is_available()


def make_inputs(rows, vocab, dtype=torch.float32, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, vocab, generator=generator) * scale).to(dtype)
    temperatures = 0.1 + 1.5 * torch.rand(rows, generator=generator)
    seeds = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)
    return logits, temperatures, seeds


def sample_by_reference(logits, temperatures, seeds, step=0, *, window=None, greedy=None):
    lo, hi = window or (0, logits.shape[1])
    tokens, logprobs, entropies, valid = sample_tokens_reference(
        logits[:, lo:hi], temperatures, seeds, step, greedy
    )
    return SampledTokens(
        tokens=tokens + lo, logprobs=logprobs.float(), entropies=entropies.float(), valid=valid
    )


def sample_by_triton(logits, temperatures, seeds, step=0, *, window=None, greedy=None):
    from ttrl_env.kernels.sampling_triton import launch_sample_tokens

    device = "cuda" if HAS_GPU else "cpu"
    lo, hi = window or (0, logits.shape[1])
    out = poisoned(logits.shape[0], device)
    arguments = [
        x.to(device) if isinstance(x, torch.Tensor) else x for x in (temperatures, seeds, step, greedy)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, for rows of NaN and -inf
        launch_sample_tokens(logits.to(device)[:, lo:hi], SamplingInputs(*arguments), lo, out)
    return SampledTokens(
        tokens=out.tokens.cpu(),
        logprobs=out.logprobs.cpu(),
        entropies=out.entropies.cpu(),
        valid=out.valid.cpu(),
    )


def poisoned(rows, device="cpu"):
    """Outputs that hold nonsense, so that a row left unwritten shows."""
    out = SampledTokens.empty(rows, device)
    out.tokens.fill_(-(2**40))
    out.logprobs.fill_(float("nan"))
    out.entropies.fill_(float("nan"))
    out.valid.fill_(False)
    return out
