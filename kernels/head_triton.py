"""float32 logits of a language-model head in Triton, shared by the kernels that take hidden states.

Each kernel sums a logit's dimensions in one fixed order, in tiles of one shape, whatever the number of rows.
So the logits of a row do not depend on the rest of the batch. A library's matrix product lacks this property,
because it chooses its kernel by the shape.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SPLIT_DIMS = 512
"""Number of dimensions that one program of ``_partial_logits`` sums."""
PARTIAL_ROWS, PARTIAL_TOKENS = 128, 128
"""One program's tile: 448 rows, 256 tokens, 4096 dimensions make 4 x 2 x 8 = 64 programs; see the README."""


def partial_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """Partial logits, float32 ``[splits, rows, width]``: their sum over axis 0 is ``hidden @ weight.T``.

    ``hidden`` is ``[rows, dim]``, ``weight`` ``[width, dim]``, both on a GPU; at least one row.
    """
    (rows, dim), width = hidden.shape, weight.shape[0]
    splits = triton.cdiv(dim, SPLIT_DIMS)
    partials = hidden.new_empty((splits, rows, width), dtype=torch.float32)
    grid = triton.cdiv(rows, PARTIAL_ROWS), triton.cdiv(width, PARTIAL_TOKENS), splits
    _partial_logits[grid](
        hidden,
        weight,
        partials,
        hidden.stride(0),
        hidden.stride(1),
        weight.stride(0),
        weight.stride(1),
        rows,
        width,
        dim,
        UPCAST=hidden.device.type == "cpu",
        **partial_options(hidden.dtype),
    )
    return partials


def partial_options(dtype: torch.dtype) -> dict[str, Any]:
    """Compile-time arguments of ``_partial_logits``."""
    return {
        "SPLIT_DIMS": SPLIT_DIMS,
        "TILE_ROWS": PARTIAL_ROWS,
        "TILE_TOKENS": PARTIAL_TOKENS,
        **product_options(dtype, num_warps=8),
    }


def product_options(dtype: torch.dtype, num_warps: int) -> dict[str, Any]:
    """Compile-time arguments of every kernel that multiplies; float32 has fewer registers to spare."""
    is_half = dtype != torch.float32
    return {
        "TILE_DIMS": 64 if is_half else 16,
        "num_warps": num_warps,
        "num_stages": 3,
        "enable_fp_fusion": True,
    }


@triton.jit(do_not_specialize=["rows"])
def _partial_logits(
    hidden,
    weight,
    partials,
    hidden_row_stride,
    hidden_stride,
    weight_row_stride,
    weight_stride,
    rows,
    width,
    dim,
    UPCAST: tl.constexpr,
    SPLIT_DIMS: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    TILE_DIMS: tl.constexpr,
):
    row_ids = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    token_ids = tl.program_id(1) * TILE_TOKENS + tl.arange(0, TILE_TOKENS)
    split = tl.program_id(2).to(tl.int64)
    first_dim = split.to(tl.int32) * SPLIT_DIMS
    products = multiply(
        hidden + tl.minimum(row_ids, rows - 1) * hidden_row_stride,
        hidden_stride,
        weight + tl.minimum(token_ids, width - 1).to(tl.int64) * weight_row_stride,
        weight_stride,
        first_dim,
        tl.minimum(first_dim + SPLIT_DIMS, dim),
        TILE_DIMS,
        UPCAST,
    )
    pointers = partials + ((split * rows + row_ids) * width)[:, None] + token_ids[None, :]
    tl.store(pointers, products, mask=(row_ids < rows)[:, None] & (token_ids < width)[None, :])


@triton.jit
def multiply(
    row_pointers,
    hidden_stride,
    token_pointers,
    weight_stride,
    first_dim,
    last_dim,
    TILE_DIMS: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Products of rows and tokens, ``[rows, tokens]`` float32, over dimensions ``[first_dim, last_dim)``.

    float32 inputs are multiplied as float32, not as TF32, whose logits would be no better than bfloat16's.
    ``UPCAST`` is for Triton's interpreter, which cannot multiply bfloat16; the products are the same.
    """
    products = tl.zeros([row_pointers.shape[0], token_pointers.shape[0]], tl.float32)
    for start in range(first_dim, last_dim, TILE_DIMS):
        dims = start + tl.arange(0, TILE_DIMS)
        inside = (dims < last_dim)[None, :]
        offsets = dims.to(tl.int64)[None, :]
        states = tl.load(row_pointers[:, None] + offsets * hidden_stride, mask=inside, other=0.0)
        weights = tl.load(token_pointers[:, None] + offsets * weight_stride, mask=inside, other=0.0)
        if UPCAST:
            states, weights = states.to(tl.float32), weights.to(tl.float32)
        products = tl.dot(states, tl.trans(weights), products, input_precision="ieee")
    return products
