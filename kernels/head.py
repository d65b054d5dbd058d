"""float32 logits of a language-model head, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ttrl_env.kernels import arguments
from ttrl_env.kernels.products import plain_products

LOGITS_AT_A_TIME = 2**24
"""Logits in memory at once: 64 MB. With fewer, the head's weights would be read too often."""

CONVERTED_WEIGHTS = 2**22
"""Weights converted to float32 at once, where a product needs the conversion: 16 MB."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def head_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """``hidden [rows, dim] @ weight [width, dim].T`` in float32, whatever the inputs are."""
    with plain_products(hidden.device):
        if hidden.dtype == torch.float32:
            return hidden @ weight.t()
        if hidden.device.type == "cuda" and hasattr(torch.ops.aten.mm, "dtype"):
            return torch.mm(hidden, weight.t(), out_dtype=torch.float32)
        states = hidden.float()
        logits = states.new_empty((hidden.shape[0], weight.shape[0]))
        block = max(1, CONVERTED_WEIGHTS // weight.shape[1])
        for start in range(0, weight.shape[0], block):
            tokens = slice(start, start + block)
            torch.mm(states, weight[tokens].float().t(), out=logits[:, tokens])
        return logits


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices that together cover all rows; the logits of one slice fit the memory limit."""
    block = max(1, LOGITS_AT_A_TIME // width)
    for start in range(0, rows, block):
        yield slice(start, min(start + block, rows))


def check_head(hidden: Any, head_weight: Any, window: Any) -> tuple[int, int]:
    """Raise unless ``hidden`` is ``[rows, dim]`` and ``head_weight`` ``[vocab, dim]``; return the window."""
    arguments.check_matrix(hidden, DTYPES, "hidden", ("rows", "dim"))
    arguments.check_matrix(head_weight, DTYPES, "head_weight", ("vocab", "dim"))
    if head_weight.dtype != hidden.dtype:
        raise TypeError(f"head_weight: expected {hidden.dtype}, as hidden is, got {head_weight.dtype}")
    if head_weight.device != hidden.device:
        raise ValueError(f"head_weight: expected a tensor on {hidden.device}, got {head_weight.device}")
    if head_weight.shape[1] != hidden.shape[1]:
        raise ValueError(
            f"head_weight: expected shape [vocab, {hidden.shape[1]}], hidden's last dimension,"
            f" got {list(head_weight.shape)}; pass lm_head.weight as it is, not transposed"
        )
    if head_weight.shape[0] == 0:
        raise ValueError(f"head_weight: expected a vocab of at least 1, got shape {list(head_weight.shape)}")
    return arguments.check_window(window, head_weight.shape[0])
