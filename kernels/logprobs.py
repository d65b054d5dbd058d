"""``token_logprobs``: the training twin of ``sample_tokens``, differentiable with respect to the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.logprobs_reference import token_logprobs_reference


def token_logprobs(
    logits: Tensor, tokens: Tensor, temperatures: Tensor, *, window: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of one token a row, and the entropy, of ``softmax(logits[:, lo:hi] / temperature)``.

    The same distribution that ``sample_tokens`` draws from with the same temperatures and window, so the
    ratio of new to old probabilities is 1 until the policy changes.

    Args:
        logits: ``[rows, vocab]`` float32, bfloat16, float16 or float64, any strides.
        tokens: ``[rows]`` int64 ids in the full vocabulary, inside the window.
        temperatures: ``[rows]`` float32, finite and not negative.
        window: ``(lo, hi)``, half open, restricts the distribution to these token ids and renormalises.

    Returns:
        ``(logprobs, entropies)``, each ``[rows]`` float32 (float64 for float64 logits), both differentiable
        with respect to ``logits``. A row of temperature 0 has log-probability 0 at its most likely token and
        -inf at any other; a row that holds NaN or +inf, or only -inf, has -inf. Such rows have entropy 0 and
        no gradient: leave them out of a loss.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, mixed devices, a bad window, or, on the CPU, a token outside the window or
            a negative or non-finite temperature. On a GPU such a row has log-probability -inf.
    """
    arguments.check_logits(logits, (torch.float32, torch.bfloat16, torch.float16, torch.float64))
    arguments.check_rows("tokens", tokens, logits, torch.int64)
    arguments.check_rows("temperatures", temperatures, logits, torch.float32)
    arguments.check_temperature_values(temperatures)
    lo, hi = arguments.check_window(window, logits.shape[1])
    arguments.check_token_values(tokens, lo, hi)
    logprobs, entropies = token_logprobs_reference(logits[:, lo:hi], tokens - lo, temperatures)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return logprobs.to(dtype), entropies.to(dtype)
