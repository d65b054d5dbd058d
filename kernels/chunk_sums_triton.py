"""A row's softmax sums by chunks of 1024 tokens, in Triton. One warp sums a chunk, and waits for no other.

A chunk's sums are its base, the sum of its weights, and the sum of weights times base-2 exponents. Usually
the base is ``maximum * scale``, rounded, and an exponent is ``logit * scale - base`` with one rounding (one
multiply-add). All weights of a chunk then share the base's rounding error, so probabilities do not see it.

Two things break this: a logit of -inf makes the second sum NaN, and where ``maximum * scale`` is huge, so is
its rounding error. Such a row is summed again with ``CAREFUL`` set. There the base is the maximum itself, an
exponent is ``(logit - base) * scale``, and -inf is clamped. A row that still has NaN is broken.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, assignment"
# ruff: noqa: RUF005  Triton's tuples grow by +, not by unpacking

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
    offsets = tl.arange(0, TILE_CHUNKS)[:, None] * CHUNK + tl.arange(0, LANES)[None, :]
    pointers = row_logits + offsets.to(tl.int64) * stride
    step_stride = stride * tl.full([], LANES, tl.int64)
    full = tl.minimum(last_tile, width // TILE)
    has_full = offsets < (full - first_tile) * TILE
    ahead = ()
    for step in tl.static_range(STEPS):
        start = pointers + (first_tile * STEPS * TILE_CHUNKS + step) * step_stride
        ahead = ahead + (tl.load(start, mask=has_full, other=0.0),)
    for tile in range(first_tile, full):
        values = ()
        following = ()
        start = pointers + tl.minimum(tile + 1, full - 1) * (STEPS * TILE_CHUNKS) * step_stride
        for step in tl.static_range(STEPS):
            values = values + (ahead[step].to(tl.float32),)
            following = following + (tl.load(start + step * step_stride),)
        ahead = following
        _store_sums(sums, tile * TILE_CHUNKS, values, scale, STEPS, CAREFUL, False)
    if last_tile > full:  # the row ends inside its last tile
        values = ()
        for step in tl.static_range(STEPS):
            inside = full * TILE + step * LANES + offsets < width
            start = pointers + (full * STEPS * TILE_CHUNKS + step) * step_stride
            values = values + (tl.load(start, mask=inside, other=-float("inf")).to(tl.float32),)
        _store_sums(sums, full * TILE_CHUNKS, values, scale, STEPS, CAREFUL, True)


@triton.jit
def _store_sums(
    sums,
    first_chunk,
    values,
    scale,
    STEPS: tl.constexpr,
    CAREFUL: tl.constexpr,
    MAY_BE_EMPTY: tl.constexpr,
):
    best = values[0]
    for step in tl.static_range(1, STEPS):
        best = tl.maximum(best, values[step])
    base = tl.max(best, 1)
    if not CAREFUL:
        base = base * scale
    finite = finite_or_zero(base) if CAREFUL or MAY_BE_EMPTY else base
    weight_sums = tl.zeros(best.shape, tl.float32)
    term_sums = tl.zeros(best.shape, tl.float32)
    for step in tl.static_range(STEPS):
        if CAREFUL:
            exponents = (values[step] - finite[:, None]) * scale
        else:
            exponents = tl.fma(values[step], scale, -finite[:, None])
        weights = tl.exp2(exponents)
        weight_sums += weights
        term_sums += (
            weighted_exponents(weights, exponents) if CAREFUL or MAY_BE_EMPTY else weights * exponents
        )
    total = tl.sum(weight_sums, 1)
    weighted = tl.sum(term_sums, 1)
    # A warp's first lanes store one number each, so that no warp waits for another to lay them out.
    lane = tl.arange(0, 32)[None, :]
    numbers = tl.where(lane == 0, base[:, None], tl.where(lane == 1, total[:, None], weighted[:, None]))
    chunks = first_chunk + tl.arange(0, best.shape[0])
    tl.store(sums + chunks[:, None] * 4 + lane, numbers, mask=tl.broadcast_to(lane < 4, numbers.shape))
