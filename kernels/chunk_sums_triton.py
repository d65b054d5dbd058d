"""A row's softmax sums by chunks of 1024 tokens, in Triton. One warp sums a chunk, and waits for no other.

A chunk's sums are its base, the sum of its weights, and the sum of weights times base-2 exponents. Usually
the base is ``maximum * scale``, rounded, and an exponent is ``logit * scale - base`` with one rounding (one
multiply-add). All weights of a chunk then share the base's rounding error, so probabilities do not see it.

Two things break this: a logit of -inf makes the second sum NaN, and where ``maximum * scale`` is huge, so is
its rounding error. Such a row is summed again with ``CAREFUL`` set. There the base is the maximum itself, an
exponent is ``(logit - base) * scale``, and -inf is clamped. A row that still has NaN is broken.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl

from ttrl_env.kernels.row_sums_triton import finite_or_zero, weighted_exponents

LARGEST_BASE = tl.constexpr(2.0**22)
"""Up to this base, its rounding error is at most a quarter of a binary order of magnitude."""


@triton.jit
def needs_care(bases, weighted):
    """Whether a row, of which these are the chunks' sums, must be summed again with ``CAREFUL``."""
    is_usual = (tl.abs(tl.max(bases, 0)) < LARGEST_BASE) & (tl.abs(tl.sum(weighted, 0)) < float("inf"))
    return is_usual == 0


@triton.jit
def store_chunk_sums(
    sums,
    row_logits,
    stride,
    width,
    scale,
    first_tile,
    last_tile,
    CHUNK: tl.constexpr,
    TILE_CHUNKS: tl.constexpr,
    LANES: tl.constexpr,
    CAREFUL: tl.constexpr,
):
    """Store the sums of the chunks in some tiles of a row to ``sums``, ``[chunks, 4]``; the fourth is no sum.

    A tile has ``TILE_CHUNKS`` chunks, one for each warp. ``LANES`` are the values that a warp reads at once.
    """
    STEPS: tl.constexpr = CHUNK // LANES
    TILE: tl.constexpr = TILE_CHUNKS * CHUNK
    chunks = tl.arange(0, TILE_CHUNKS)
    steps = tl.arange(0, STEPS)[:, None, None] * LANES
    offsets = steps + chunks[None, :, None] * CHUNK + tl.arange(0, LANES)[None, None, :]
    pointers = row_logits + offsets.to(tl.int64) * stride
    tile_stride = stride * tl.full([], TILE, tl.int64)
    full = tl.minimum(last_tile, width // TILE)
    has_full = offsets < (full - first_tile) * TILE
    ahead = tl.load(pointers + first_tile * tile_stride, mask=has_full, other=0.0)
    for tile in range(first_tile, full):
        values = ahead.to(tl.float32)
        ahead = tl.load(pointers + tl.minimum(tile + 1, full - 1) * tile_stride)
        _store_sums(sums, tile * TILE_CHUNKS, values, scale, CAREFUL, False)
    if last_tile > full:  # the row ends inside its last tile
        inside = full * TILE + offsets < width
        values = tl.load(pointers + full * tile_stride, mask=inside, other=-float("inf")).to(tl.float32)
        _store_sums(sums, full * TILE_CHUNKS, values, scale, CAREFUL, True)


@triton.jit
def _store_sums(sums, first_chunk, values, scale, CAREFUL: tl.constexpr, MAY_BE_EMPTY: tl.constexpr):
    base = tl.max(tl.max(values, 0), 1)
    if CAREFUL:
        exponents = (values - finite_or_zero(base)[None, :, None]) * scale
    elif MAY_BE_EMPTY:
        base = base * scale
        exponents = tl.fma(values, scale, -finite_or_zero(base)[None, :, None])
    else:
        base = base * scale
        exponents = tl.fma(values, scale, -base[None, :, None])
    weights = tl.exp2(exponents)
    terms = weighted_exponents(weights, exponents) if CAREFUL or MAY_BE_EMPTY else weights * exponents
    total = tl.sum(tl.sum(weights, 0), 1)
    weighted = tl.sum(tl.sum(terms, 0), 1)
    # A warp's first lanes store one number each, so that no warp waits for another to lay them out.
    lane = tl.arange(0, 32)[None, :]
    numbers = tl.where(lane == 0, base[:, None], tl.where(lane == 1, total[:, None], weighted[:, None]))
    chunks = first_chunk + tl.arange(0, values.shape[1])
    tl.store(sums + chunks[:, None] * 4 + lane, numbers, mask=tl.broadcast_to(lane < 4, numbers.shape))
