"""``sample_tokens``: sample one token a row, with its log-probability and the entropy, in one pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.sampling_types import SampledTokens, SamplingInputs


def sample_tokens(
    logits: Tensor,
    temperatures: Tensor,
    seeds: Tensor,
    step: int | Tensor = 0,
    *,
    window: tuple[int, int] | None = None,
    greedy: Tensor | None = None,
    out: SampledTokens | None = None,
) -> SampledTokens:
    """Draw a token a row from ``softmax(logits[:, lo:hi] / temperature)``.

    The sample of a row depends on its own seed, step, logits and temperature, and on nothing else: not on
    the other rows, its position among them, or the device.

    Args:
        logits: ``[rows, vocab]`` float32, bfloat16 or float16, any strides.
        temperatures: ``[rows]`` float32, finite and not negative. 0 is greedy: the most likely token, the
            lowest id among equals, with log-probability 0 and entropy 0.
        seeds: ``[rows]`` int64, any value.
        step: an int, or a 0-d int64 tensor on the device of the logits (so that a captured CUDA graph can
            advance it). The same seed at another step gives an independent sample.
        window: ``(lo, hi)``, half open, restricts sampling to these token ids and renormalises.
        greedy: ``[rows]`` bool; True treats the row as if its temperature were 0.
        out: where to write, made by ``SampledTokens.empty``; it is returned. On a GPU, one made for the width
            of the window saves an allocation and, with few rows, a launch.

    Returns:
        :class:`SampledTokens`. A row with NaN, +inf or only -inf in the window cannot be sampled. It has
        ``valid`` False, the window's first token, log-probability -inf and entropy 0.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a wrong shape, mixed devices, an empty or overlapping window, or, on the CPU, a negative
            or non-finite temperature. On a GPU the host does not read the temperatures: such a row has
            ``valid`` False.
    """
    arguments.check_logits(logits, (torch.float32, torch.bfloat16, torch.float16))
    check_inputs(logits, temperatures, seeds, step, greedy, out)
    rows, vocab = logits.shape
    lo, hi = arguments.check_window(window, vocab)
    if arguments.needs_dispatcher(logits, temperatures, seeds, greedy) or arguments.is_in_mode():
        arrays = (logits.detach(), temperatures, seeds, step_tensor(step, logits.device), greedy)
        return copy_samples(torch.ops.ttrl_env.sample_tokens(*arrays, lo, hi), out)
    if out is None:
        out = SampledTokens.empty(rows, logits.device)
    if not fill_samples(logits, lo, hi, SamplingInputs(temperatures, seeds, step, greedy), out):
        arguments.check_temperature_values(temperatures)
    return out


def fill_samples(
    logits: Tensor,
    lo: int,
    hi: int,
    sampling: SamplingInputs,
    out: SampledTokens,
    first_id: int | None = None,
) -> bool:
    """Fill ``out`` from ``logits[:, lo:hi]``, on the device they are on.

    ``first_id`` is the token id of column ``lo``, if it is another. Returns False if a temperature that the
    CPU sees is negative or not finite; its row is marked invalid.
    """
    if logits.shape[0] == 0:
        return True
    first_id = lo if first_id is None else first_id
    if not logits.is_cuda:
        return _cpu_function()(logits, lo, hi, sampling, first_id, out)
    from ttrl_env.kernels.sampling_triton import launch_sample_tokens

    with torch.cuda.device_of(logits):
        launch_sample_tokens(logits.detach()[:, lo:hi], sampling.detached(), first_id, out)
    return True


@functools.cache
def _cpu_function() -> Callable[[Tensor, int, int, SamplingInputs, int, SampledTokens], bool]:
    """``sample_tokens_cpu``; a cached call takes less time than an import statement."""
    from ttrl_env.kernels.sampling_cpu import sample_tokens_cpu

    return sample_tokens_cpu


def step_tensor(step: int | Tensor, device: torch.device) -> Tensor:
    """The step as a 0-d int64 tensor on ``device``, the form that the operators take."""
    return step if isinstance(step, Tensor) else torch.full((), step, dtype=torch.int64, device=device)


def copy_samples(sampled: tuple[Tensor, Tensor, Tensor, Tensor], out: SampledTokens | None) -> SampledTokens:
    """An operator's outputs as :class:`SampledTokens`, copied into ``out`` if it is given."""
    if out is None:
        tokens, logprobs, entropies, valid = sampled
        return SampledTokens(tokens=tokens, logprobs=logprobs, entropies=entropies, valid=valid)
    for target, source in zip(out.tensors(), sampled, strict=True):
        target.copy_(source)
    return out


def check_inputs(logits: Tensor, temperatures: Any, seeds: Any, step: Any, greedy: Any, out: Any) -> None:
    """Raise unless all per-row arguments fit ``logits``; the temperatures' values are not looked at."""
    arguments.check_rows("temperatures", temperatures, logits, torch.float32)
    arguments.check_rows("seeds", seeds, logits, torch.int64)
    arguments.check_step(step, logits)
    if greedy is not None:
        arguments.check_rows("greedy", greedy, logits, torch.bool)
    if out is None:
        return
    if not isinstance(out, SampledTokens):
        raise TypeError(f"out: expected SampledTokens (see SampledTokens.empty), got {type(out).__name__}")
    dtypes = {
        "tokens": torch.int64,
        "logprobs": torch.float32,
        "entropies": torch.float32,
        "valid": torch.bool,
    }
    if out.arrivals is not None:
        dtypes["arrivals"] = torch.int32
    for name, dtype in dtypes.items():
        arguments.check_rows(f"out.{name}", getattr(out, name), logits, dtype)
        if not getattr(out, name).is_contiguous():
            raise ValueError(
                f"out.{name}: expected a contiguous tensor, got strides {getattr(out, name).stride()}"
            )
    if out.scratch is not None:
        _check_scratch(out.scratch, logits)


def _check_scratch(scratch: Tensor, logits: Tensor) -> None:
    is_on_device = scratch.device == logits.device and scratch.dtype == torch.float32
    if not (is_on_device and scratch.shape[:-1] == logits.shape[:1] and scratch.is_contiguous()):
        raise ValueError(
            f"out.scratch: expected a contiguous float32 tensor [{logits.shape[0]}, n] on {logits.device} as"
            f" SampledTokens.empty makes it, got {scratch.dtype} {list(scratch.shape)} on {scratch.device}"
        )
