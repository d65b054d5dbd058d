"""The specification of ``sample_tokens``, in plain PyTorch and float64: read this to know what a sample is.

Softmax weights are cut into chunks of ``CHUNK`` tokens, counted from the window's first token. One uniform
picks the chunk by inverse cumulative weight, a second picks the token inside it. That is exact, because
P(token) = P(chunk) P(token | chunk). It lets every other path search the tokens of one chunk only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ttrl_env.kernels.philox import row_uniforms

CHUNK = 1024
"""Number of tokens in a chunk. Part of the definition: another value gives other (equally valid) samples."""


def sample_tokens_reference(
    logits: Tensor, temperatures: Tensor, seeds: Tensor, step: int | Tensor, greedy: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, log-probs, entropies and validity of ``logits`` ``[rows, width]``, the window already cut.

    Returns ``[rows]`` tensors: tokens int64 in [0, width), log-probs and entropies float64, valid bool.
    """
    if logits.shape[0] == 0:
        empty = logits.new_empty(0)
        return empty.long(), empty.double(), empty.double(), empty.bool()
    logits = logits.double()
    maxima = logits.amax(1, keepdim=True)  # NaN where the row holds one
    valid = maxima[:, 0].isfinite() & temperatures.isfinite() & (temperatures >= 0)
    is_greedy = temperatures == 0 if greedy is None else greedy | (temperatures == 0)

    sane_logits = torch.where(valid[:, None], logits, 0.0)
    sane_maxima = torch.where(valid[:, None], maxima, 0.0)
    sane_temperatures = torch.where(valid & ~is_greedy, temperatures.double(), 1.0)
    exponents = (sane_logits - sane_maxima) / sane_temperatures[:, None]
    weights = exponents.exp()

    tokens = torch.where(is_greedy, sane_logits.argmax(1), _sample(weights, seeds, step))
    tokens = torch.where(valid, tokens, 0)
    log_total = weights.sum(1).log()
    logprobs = exponents.gather(1, tokens[:, None])[:, 0] - log_total
    weighted = torch.where(weights > 0, weights * exponents, 0.0).sum(1)
    entropies = log_total - weighted / weights.sum(1)

    logprobs = torch.where(is_greedy, 0.0, logprobs.clamp(max=0.0))
    entropies = torch.where(is_greedy | ~valid, 0.0, entropies.clamp(min=0.0))
    return tokens, torch.where(valid, logprobs, -torch.inf), entropies, valid


def _sample(weights: Tensor, seeds: Tensor, step: int | Tensor) -> Tensor:
    """Token positions ``[rows]`` sampled from ``weights`` ``[rows, width]``."""
    rows, width = weights.shape
    chunks = pad(weights, (0, -width % CHUNK)).view(rows, -1, CHUNK)
    chunk_uniforms, token_uniforms = row_uniforms(seeds, step)
    chosen = _inverse_cumulative(chunks.sum(2), chunk_uniforms)
    members = chunks[torch.arange(rows, device=chunks.device), chosen]
    return chosen * CHUNK + _inverse_cumulative(members, token_uniforms)


def _inverse_cumulative(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first index whose inclusive cumulative weight exceeds ``uniform * total``, for each row.

    If ``uniform * total`` rounds up to the total, it is the last index of positive weight.
    """
    cumulative = weights.cumsum(1)
    total = cumulative[:, -1:]
    reached = (cumulative <= uniforms[:, None] * total) & (cumulative < total)
    return reached.sum(1)
