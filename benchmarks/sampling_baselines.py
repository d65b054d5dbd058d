"""Baselines for `sample_tokens` and `token_logprobs`: common ways to sample tokens.

All take ``(logits, temperatures, window)`` and run on any device. Each docstring says what is left out. Those
named after a project are our own code, written from its description.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Window = tuple[int, int]


def torch_multinomial(logits: Tensor, temperatures: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Softmax, multinomial, gather: token and log-probability, no entropy."""
    lo, hi = window
    probabilities = torch.softmax(logits[:, lo:hi].float() / temperatures[:, None], dim=-1)
    tokens = torch.multinomial(probabilities, 1)
    return tokens[:, 0] + lo, probabilities.gather(1, tokens)[:, 0].log()


def torch_gumbel(logits: Tensor, temperatures: Tensor, window: Window) -> Tensor:
    """Argmax of logits plus Gumbel noise: the token only."""
    lo, hi = window
    scaled = logits[:, lo:hi].float() / temperatures[:, None]
    noise = torch.empty_like(scaled).exponential_()
    return (scaled - noise.log()).argmax(dim=-1) + lo


def simplevla_rl(logits: Tensor, temperatures: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    """SimpleVLA-RL: slice, softmax, multinomial; then log-probability and entropy from the logits again."""
    lo, hi = window
    sliced = logits[:, lo:hi].float() / temperatures[:, None]
    tokens = torch.multinomial(torch.softmax(sliced, dim=-1), 1)[:, 0]
    again = logits[:, lo:hi].float() / temperatures[:, None]
    logprobs = -cross_entropy(again, tokens, reduction="none")
    probabilities = torch.softmax(again, dim=-1)
    entropies = torch.logsumexp(again, dim=-1) - (probabilities * again).sum(-1)
    return tokens + lo, logprobs, entropies


def rlinf(logits: Tensor, temperatures: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor]:
    """RLinf: mask everything outside the window with -inf, then log-softmax over the whole vocabulary."""
    lo, hi = window
    masked = logits.float() / temperatures[:, None]
    masked[:, :lo] = -torch.inf
    masked[:, hi:] = -torch.inf
    log_probabilities = torch.log_softmax(masked, dim=-1)
    probabilities = log_probabilities.exp()
    tokens = torch.multinomial(probabilities, 1)[:, 0]
    logprobs = -cross_entropy(masked, tokens, reduction="none")
    entropies = -(probabilities * log_probabilities.nan_to_num(neginf=0.0)).sum(-1)
    return tokens, logprobs, entropies


def torch_logprobs(
    logits: Tensor, tokens: Tensor, temperatures: Tensor, window: Window
) -> tuple[Tensor, Tensor]:
    """Log-softmax, gather and entropy with autograd's backward pass."""
    lo, hi = window
    log_probabilities = torch.log_softmax(logits[:, lo:hi].float() / temperatures[:, None], dim=-1)
    logprobs = log_probabilities.gather(1, (tokens - lo)[:, None])[:, 0]
    return logprobs, -(log_probabilities.exp() * log_probabilities).sum(-1)


def flashinfer(logits: Tensor) -> Tensor:
    """FlashInfer's sampler, if installed: the token only, at temperature 1."""
    from flashinfer.sampling import sampling_from_logits

    return sampling_from_logits(logits)


def divided_flashinfer(logits: Tensor, temperatures: Tensor) -> Tensor:
    """Logits divided by temperatures with PyTorch, then `flashinfer`: the token only."""
    return flashinfer(logits.float() / temperatures[:, None])


def trl_logprobs(logits: Tensor, tokens: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """TRL's kernel, if installed: log-probabilities and entropies at temperature 1."""
    from trl.kernels.logprob_entropy import selective_log_softmax_and_entropy

    lo, hi = window
    return selective_log_softmax_and_entropy(logits[:, lo:hi], tokens - lo)


def trl_logprobs_from_hidden(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """TRL's product in chunks, if installed: log-probabilities and entropies at temperature 1."""
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    logprobs, entropies, *_ = ChunkedLogProbFunction.apply(
        hidden, weight, None, tokens, 1.0, 8192, None, 1.0, ("entropy",)
    )
    return logprobs, entropies


def liger_logprobs_from_hidden(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Liger's product with cross entropy, if installed: losses and entropies at temperature 1."""
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import LigerFusedLinearScaledCrossEntropyFunction

    losses, entropies = LigerFusedLinearScaledCrossEntropyFunction.apply(
        hidden, weight, tokens, return_entropy=True
    )
    return losses, entropies
