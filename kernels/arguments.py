"""Argument checks of the public functions: errors name the argument, what was expected and what came.

The checks never read values from a GPU, so the host never waits for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN_TYPES = (Tensor, torch.nn.Parameter)

LARGEST_TEMPERATURES = 8
"""Most temperatures a row: on a GPU a program keeps the sums of each in registers."""


def check_logits(logits: Any, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise unless ``logits`` is a ``[rows, vocab]`` tensor of one of ``dtypes`` on a CPU or CUDA device."""
    check_matrix(logits, dtypes, "logits", ("rows", "vocab"))


def check_matrix(matrix: Any, dtypes: tuple[torch.dtype, ...], argument: str, axes: tuple[str, str]) -> None:
    """Raise unless ``matrix`` is a matrix of one of ``dtypes`` on a CPU or CUDA device.

    ``axes`` names its two dimensions; the last must not be empty.
    """
    _check_tensor(argument, matrix)
    if matrix.dtype not in dtypes:
        raise TypeError(f"{argument}: expected one of {_names(dtypes)}, got {matrix.dtype}")
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(
            f"{argument}: expected shape [{axes[0]}, {axes[1]}] with {axes[1]} of at least 1, got "
            f"{list(matrix.shape)}; flatten leading dimensions with {argument}.flatten(0, -2)"
        )
    if not (matrix.is_cpu or matrix.is_cuda):
        raise ValueError(f"{argument}: expected a tensor on a CPU or CUDA device, got {matrix.device}")


def needs_dispatcher(*tensors: Any) -> bool:
    """Whether a call must go through PyTorch's dispatcher, as one operator of ``operators.py``.

    That is so while a graph is compiled or traced, inside a transform of ``torch.func``, and for tensors that
    are not what their memory holds: subclasses, lazily negated ones, zeros without memory.
    """
    if is_traced():
        return True
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN_TYPES or tensor.is_neg()):
            return True
        if tensor is not None and tensor.data_ptr() == 0 and tensor.numel() > 0:
            return True
    return False


def is_traced() -> bool:
    """Whether the tensors at hand may stand for others, so that their values mean nothing."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._is_tracing()
    )


def is_in_mode() -> bool:
    """Whether a ``TorchDispatchMode`` watches, records or replaces every operator."""
    return torch._C._len_torch_dispatch_stack() > 0


def check_rows(argument: str, value: Any, logits: Tensor, dtype: torch.dtype) -> None:
    """Raise unless ``value`` is ``[rows]`` of ``dtype`` on the device of ``logits``."""
    _check_kind(argument, value, logits, dtype)
    if value.shape != logits.shape[:1]:
        raise ValueError(
            f"{argument}: expected shape [{logits.shape[0]}], one value for each row, got {list(value.shape)}"
        )


def check_temperatures(temperatures: Any, logits: Tensor) -> None:
    """Raise unless ``temperatures`` are ``[rows]`` or ``[rows, K]``, float32."""
    _check_kind("temperatures", temperatures, logits, torch.float32)
    rows, shape = logits.shape[0], tuple(temperatures.shape)
    if shape != (rows,) and not (
        len(shape) == 2 and shape[0] == rows and 1 <= shape[1] <= LARGEST_TEMPERATURES
    ):
        raise ValueError(
            f"temperatures: expected shape [{rows}], one for each row, or [{rows}, K] with K from 1 to"
            f" {LARGEST_TEMPERATURES}, got {list(shape)}; split more columns over several calls"
        )


def check_temperature_values(temperatures: Tensor) -> None:
    """Raise if a temperature held by the CPU is negative, NaN or infinite."""
    if not _can_be_looked_at(temperatures) or temperatures.numel() == 0:
        return
    values = temperatures.detach().numpy()  # NumPy's minimum is NaN where one value is
    if not (values.min() >= 0 and values.max() < math.inf):
        row, *column = np.argwhere(~(np.isfinite(values) & (values >= 0)))[0].tolist()
        raise ValueError(
            "temperatures: expected finite values of at least 0 (0 is greedy),"
            f" got {values[(row, *column)]} in row {row}" + "".join(f", column {k}" for k in column)
        )


def check_token_values(tokens: Tensor, lo: int, hi: int) -> None:
    """Raise if a token id held by the CPU is outside ``[lo, hi)``."""
    if not _can_be_looked_at(tokens) or tokens.numel() == 0:
        return
    values = tokens.numpy()
    if not (lo <= values.min() and values.max() < hi):
        row = int(((values < lo) | (values >= hi)).argmax())
        raise ValueError(
            f"tokens: expected ids in [{lo}, {hi}), the window, got {tokens[row].item()} in row {row};"
            " ids count from the start of the full vocabulary"
        )


def check_step(step: Any, logits: Tensor) -> None:
    """Raise unless ``step`` is an int64 in Python or a 0-d int64 tensor on the device of ``logits``."""
    if isinstance(step, Tensor):
        if step.dtype != torch.int64:
            raise TypeError(
                f"step: expected an int or a 0-d torch.int64 tensor, got a tensor of {step.dtype}"
            )
        if step.ndim != 0:
            raise ValueError(
                f"step: expected an int or a 0-d tensor, got a tensor of shape {list(step.shape)}"
            )
        if step.device != logits.device:
            raise ValueError(f"step: expected a tensor on {logits.device} like the logits, got {step.device}")
    elif isinstance(step, bool) or not isinstance(step, int):
        raise TypeError(f"step: expected an int or a 0-d torch.int64 tensor, got {step!r}")
    elif not -(2**63) <= step < 2**63:
        raise ValueError(f"step: expected a 64-bit integer, got {step}")


def check_window(window: Any, vocab: int) -> tuple[int, int]:
    """The checked window as ``(lo, hi)``; ``None`` means the whole vocabulary."""
    if window is None:
        return 0, vocab
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise TypeError(f"window: expected (lo, hi), a pair of ints, or None, got {window!r}")
    lo, hi = window
    for bound in (lo, hi):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise TypeError(f"window: expected (lo, hi), a pair of ints, or None, got {window!r}")
    if not 0 <= lo < hi <= vocab:
        raise ValueError(
            f"window: expected (lo, hi) with 0 <= lo < hi <= {vocab}, half open, got ({lo}, {hi})"
        )
    return lo, hi


def _can_be_looked_at(values: Tensor) -> bool:
    """Whether values can be read without waiting: not on a GPU, nor while a graph is traced."""
    return values.is_cpu and not is_traced()


def _check_kind(argument: str, value: Any, logits: Tensor, dtype: torch.dtype) -> None:
    _check_tensor(argument, value)
    if value.dtype != dtype:
        raise TypeError(f"{argument}: expected {dtype}, got {value.dtype}; convert with .to({dtype})")
    if not (value.is_cpu and logits.is_cpu) and value.device != logits.device:
        raise ValueError(
            f"{argument}: expected a tensor on {logits.device} like the logits, got {value.device}"
        )


def _check_tensor(argument: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{argument}: expected a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{argument}: expected a dense tensor, got {value.layout}; convert with .to_dense()")


def _names(dtypes: tuple[torch.dtype, ...]) -> str:
    return ", ".join(str(dtype) for dtype in dtypes)
