"""``sample_from_hidden``: sample from a language-model head whose logits are never all in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.head import check_head, head_logits, row_blocks
from ttrl_env.kernels.sampling import check_inputs, copy_samples, fill_samples, step_tensor
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs


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
    """``sample_tokens`` of ``hidden @ head_weight[lo:hi].T``, in float32.

    Only the head's rows in the window are multiplied: for the 256 action tokens of a vocabulary of 32,064
    that is 1/125 of the work. Logits are float32 even where hidden states and weights are bfloat16, so they
    are not rounded before the softmax. On a GPU the product and sampling share their kernels, and no logits
    are written; a row's dimensions are summed in an order that does not depend on the other rows. On a CPU
    at most 64 MB of logits exist at once.

    Args:
        hidden: ``[rows, dim]`` float32, bfloat16 or float16, any strides.
        head_weight: ``[vocab, dim]``, of the same dtype: ``lm_head.weight`` as it is.
        temperatures: this and the following as for ``sample_tokens``.

    Raises:
        TypeError, ValueError: as ``sample_tokens``, and where ``hidden`` and ``head_weight`` do not fit.
    """
    lo, hi = check_head(hidden, head_weight, window)
    check_inputs(hidden, temperatures, seeds, step, greedy, out)
    if arguments.needs_dispatcher(hidden, head_weight, temperatures, seeds, greedy):
        count = step_tensor(step, hidden.device)
        arrays = (hidden.detach(), head_weight.detach(), temperatures, seeds, count, greedy)
        return copy_samples(torch.ops.ttrl_env.sample_from_hidden(*arrays, lo, hi), out)
    arguments.check_temperature_values(temperatures)
    if out is None:
        out = SampledTokens.empty(hidden.shape[0], hidden.device)
    weight = head_weight.detach()[lo:hi]
    sampling = SamplingInputs(temperatures.detach(), seeds, step, greedy)
    fill_samples_from_hidden(hidden.detach(), weight, sampling, lo, out)
    return out


def fill_samples_from_hidden(
    hidden: Tensor, weight: Tensor, sampling: SamplingInputs, lo: int, out: SampledTokens
) -> None:
    """Fill ``out`` from ``hidden`` ``[rows, dim]`` and the head's rows from ``lo`` on, ``[width, dim]``."""
    if hidden.shape[0] == 0:
        return
    if hidden.device.type == "cuda":
        from ttrl_env.kernels.sampling_hidden_triton import launch_sample_from_hidden

        with torch.cuda.device_of(hidden):
            launch_sample_from_hidden(hidden, weight, sampling, lo, out)
        return
    for rows in row_blocks(hidden.shape[0], weight.shape[0]):
        logits = head_logits(hidden[rows], weight)
        fill_samples(logits, 0, weight.shape[0], sampling.rows(rows), out.rows(rows), first_id=lo)
