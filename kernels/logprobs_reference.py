"""The specification of ``token_logprobs``, in plain PyTorch: float64 inside, differentiable by autograd."""

from __future__ import annotations

import torch
from torch import Tensor


def token_logprobs_reference(logits: Tensor, tokens: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies, float64, of ``logits`` ``[rows, width]``, the window already cut.

    Both are ``[rows]``, as ``temperatures`` are, or ``[rows, K]``: a column for each column of temperatures.
    ``tokens`` count from the window's start. Rows that cannot be sampled have log-prob -inf and entropy 0;
    rows at temperature 0 have log-prob 0 at their most likely token, -inf elsewhere, and entropy 0. Neither
    kind carries gradient.
    """
    if temperatures.ndim == 2:
        columns = [token_logprobs_reference(logits, tokens, column) for column in temperatures.unbind(1)]
        logprobs, entropies = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
        return logprobs, entropies
    if logits.shape[0] == 0:
        return logits.double().sum(1), logits.double().sum(1)
    detached = logits.detach().double()
    valid = detached.amax(1).isfinite() & temperatures.isfinite() & (temperatures >= 0)
    is_greedy = valid & (temperatures == 0)
    regular = valid & ~is_greedy

    scaled = torch.where(regular[:, None], logits.double(), 0.0)
    scaled = scaled / torch.where(regular, temperatures.double(), 1.0)[:, None]
    all_logprobs = scaled.log_softmax(1)
    # A token of probability 0 adds 0 to the entropy, and 0 * -inf must reach neither it nor its gradient.
    possible = all_logprobs > -torch.inf
    terms = torch.where(possible, all_logprobs, 0.0) * torch.where(possible, all_logprobs, 0.0).exp()
    entropies = torch.where(regular, -torch.where(possible, terms, 0.0).sum(1), 0.0)

    at_token = all_logprobs.gather(1, tokens[:, None])[:, 0]
    greedy_logprobs = torch.where(detached.nan_to_num(-torch.inf).argmax(1) == tokens, 0.0, -torch.inf)
    constant = torch.where(is_greedy, greedy_logprobs, -torch.inf)
    return torch.where(regular, at_token, constant), entropies
