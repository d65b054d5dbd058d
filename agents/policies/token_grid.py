"""The kernels, which know rows of logits only, applied to the ``[rows, K]`` tokens of chunks."""

from __future__ import annotations

from torch import Tensor

from ttrl_env.kernels import SampledTokens, sample_tokens, token_logprobs


def sample_grid(logits: Tensor, temperatures: Tensor, seeds: Tensor, step: int) -> SampledTokens:
    """Sample ``[rows, K]`` tokens from logits ``[rows, K, vocab]``, each row at its own temperature.

    Args:
        logits: on any device; the other tensors are taken there.
        temperatures: ``[rows]`` float32.
        seeds: ``[rows, K]`` int64.
        step: where in their streams of random numbers the sample is taken.
    """
    _check_grid("seeds", seeds, logits)
    rows, count = logits.shape[:2]
    sampled = sample_tokens(
        logits.flatten(0, 1),
        temperatures.repeat_interleave(count).to(logits.device),
        seeds.flatten().to(logits.device),
        step,
    )
    return SampledTokens(
        tokens=sampled.tokens.view(rows, count),
        logprobs=sampled.logprobs.view(rows, count),
        entropies=sampled.entropies.view(rows, count),
        valid=sampled.valid.view(rows, count),
    )


def grid_logprobs(logits: Tensor, tokens: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies ``[rows, K]`` float32 of ``tokens`` ``[rows, K]``, differentiable."""
    _check_grid("tokens", tokens, logits)
    rows, count = logits.shape[:2]
    logprobs, entropies = token_logprobs(
        logits.flatten(0, 1),
        tokens.flatten().to(logits.device),
        temperatures.repeat_interleave(count).to(logits.device),
    )
    return logprobs.view(rows, count), entropies.view(rows, count)


def _check_grid(argument: str, values: Tensor, logits: Tensor) -> None:
    """Raise unless there is one value for each token of ``logits``."""
    if logits.ndim != 3 or values.shape != logits.shape[:2]:
        raise ValueError(
            f"{argument}: expected [rows, tokens] of logits [rows, tokens, choices], here of shape "
            f"{list(logits.shape)}, got {list(values.shape)}; a chunk has the policy's chunk_steps * "
            f"action_dim tokens"
        )
