"""``sample_from_hidden``: sample from a language-model head without its logits over the whole vocabulary."""

from __future__ import annotations

from torch import Tensor

from ttrl_env.kernels.head import check_head, head_logits, row_blocks
from ttrl_env.kernels.sampling import SampledTokens, check_inputs, sample_tokens


def sample_from_hidden(
    hidden: Tensor,
    head_weight: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    step: int | Tensor = 0,
    *,
    window: tuple[int, int] | None = None,
    greedy: Tensor | None = None,
    out: SampledTokens | None = None,
) -> SampledTokens:
    """``sample_tokens`` of ``hidden @ head_weight[lo:hi].T``, in float32, a block of rows at a time.

    Only the head's rows in the window are multiplied: for the 256 action tokens of a vocabulary of 32,064
    that is 1/125 of the work. Logits are float32 even where hidden states and weights are bfloat16, so they
    are not rounded before the softmax.

    Args:
        hidden: ``[rows, dim]`` float32, bfloat16 or float16.
        head_weight: ``[vocab, dim]``, of the same dtype: ``lm_head.weight`` as it is.
        temperatures, seeds, step, window, greedy, out: as for ``sample_tokens``.

    Raises:
        TypeError, ValueError: as ``sample_tokens``, and where ``hidden`` and ``head_weight`` do not fit.
    """
    lo, hi = check_head(hidden, head_weight, window)
    check_inputs(hidden, temperatures, seeds, step, greedy, out)
    if out is None:
        out = SampledTokens.empty(hidden.shape[0], hidden.device)
    weight = head_weight.detach()[lo:hi]
    for rows in row_blocks(hidden.shape[0], hi - lo):
        logits = head_logits(hidden.detach()[rows], weight)
        block = SampledTokens(
            tokens=out.tokens[rows],
            logprobs=out.logprobs[rows],
            entropies=out.entropies[rows],
            valid=out.valid[rows],
        )
        masked = None if greedy is None else greedy[rows]
        sample_tokens(logits, temperatures[rows], seeds[rows], step, greedy=masked, out=block)
    out.tokens.add_(lo)
    return out
