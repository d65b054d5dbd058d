"""Resizes and crops images as TensorFlow does, in compiled code that releases the GIL.

Weights and sums are float32 and in TensorFlow's order (its ``scale_and_translate_op.cc`` and
``crop_and_resize_op.cc``), because the last bit of a sum can change how a grey level is rounded.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttrl_env.machine.compiled import CompiledCode

_njit = CompiledCode("pixels", Path(__file__).parent, [Path(__file__)]).njit

CROP_AREA = 0.9
"""Fraction of the image's area that the centre crop keeps."""

_PI, _ZERO, _ONE = np.float32(np.pi), np.float32(0), np.float32(1)

_LANCZOS_RADIUS = np.float32(3)

_PIXEL_SCALE = np.float32(255.5)
"""``tf.image.convert_image_dtype`` to uint8 scales by this number and truncates."""


def lanczos_resize(image: NDArray[np.uint8], out: int) -> NDArray[np.float32]:
    """Resize an image ``[H, W, 3]`` to planes ``[3, out, out]``.

    It is ``tf.image.resize(..., "lanczos3", antialias=True)``.
    """
    height, width, channels = image.shape
    columns = _weigh_rows(image.reshape(height, width * channels), *_lanczos_weights(height, out))
    planes = _weigh_rows(columns.reshape(width, channels * out), *_lanczos_weights(width, out))
    return planes.reshape(channels, out, out)


def centre_crop(planes: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None:
    """Fill ``pixels`` ``[3, S, S]`` with the central part of ``planes`` ``[3, H, W]`` of 0 to 1.

    It is ``tf.image.crop_and_resize``, bilinear, then ``convert_image_dtype``.
    """
    _, height, width = planes.shape
    _, out_height, out_width = pixels.shape
    _crop(planes, *_crop_weights(height, out_height), *_crop_weights(width, out_width), pixels)


@functools.cache
def _lanczos_weights(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each result the first of its source pixels ``[out]``, and their weights ``[out, taps]``.

    Pixel centres are at half pixels. When the image shrinks, the kernel is stretched by the ratio. Weights
    outside the image are dropped, and the others normalised to a sum of one.
    """
    ratio = _ONE / np.float32(out / size)
    stretch = max(ratio, _ONE)
    centres = (np.arange(out, dtype=np.float32) + np.float32(0.5)) * ratio
    first = np.clip(np.ceil(centres - _LANCZOS_RADIUS * stretch - np.float32(0.5)), 0, size - 1)
    last = np.clip(np.floor(centres + _LANCZOS_RADIUS * stretch - np.float32(0.5)), 0, size - 1)
    taps = int((last - first).max()) + 1
    starts = np.minimum(first, size - taps).astype(np.int64)  # results at the edge get weights of zero
    sources = (starts[:, None] + np.arange(taps)).astype(np.float32)
    distances = np.abs((sources + np.float32(0.5) - centres[:, None]) * (_ONE / stretch))
    is_inside = (first[:, None] <= sources) & (sources <= last[:, None])
    weights = np.where(is_inside, _lanczos(distances), _ZERO)
    totals = np.cumsum(weights, axis=1, dtype=np.float32)[:, -1:]  # unlike sum, in order
    return starts, weights * (_ONE / totals)


@functools.cache
def _crop_weights(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each result the lower of its two source pixels and the weight of the upper. Corners are aligned."""
    start, end = (np.float32((1 + sign * np.sqrt(CROP_AREA)) / 2) for sign in (-1, 1))
    step = (end - start) * np.float32(size - 1) / np.float32(out - 1)
    coordinates = start * np.float32(size - 1) + np.arange(out, dtype=np.float32) * step
    lower = np.floor(coordinates)
    return lower.astype(np.int64), coordinates - lower


@_njit()
def _lanczos(distances):
    """The kernel, with the sine of the C library, as in TensorFlow; NumPy's differs in last bits."""
    angles = _PI * distances
    sines = _LANCZOS_RADIUS * np.sin(angles) * np.sin(angles / _LANCZOS_RADIUS)
    weights = np.where(distances <= 1e-3, _ONE, sines / (_PI * _PI * distances * distances))
    return np.where(distances > _LANCZOS_RADIUS, _ZERO, weights)


@_njit(nogil=True)
def _weigh_rows(rows, starts, weights):
    """Weighted sums of adjacent rows ``[in, width]``, as columns: ``[width, out]`` float32.

    Sum ``i`` begins at row ``starts[i]``. Two calls resize both dimensions and restore their order.
    """
    columns = np.empty((rows.shape[1], len(starts)), np.float32)
    total = np.empty(rows.shape[1], np.float32)
    for i in range(len(starts)):
        total[:] = 0
        for tap in range(weights.shape[1]):
            weight, row = weights[i, tap], rows[starts[i] + tap]
            for x in range(len(row)):
                total[x] += weight * np.float32(row[x])
        columns[:, i] = total
    return columns


@_njit(nogil=True)
def _crop(planes, tops, down, lefts, right, pixels):
    """Interpolate along the rows, then between them, and convert to uint8."""
    rows = np.empty((planes.shape[1], pixels.shape[2]), np.float32)
    for channel in range(len(planes)):
        for y in range(len(rows)):
            row = planes[channel, y]
            for x in range(len(lefts)):
                left = row[lefts[x]]
                rows[y, x] = left + (row[lefts[x] + 1] - left) * right[x]
        for y in range(len(tops)):
            top, bottom, weight = rows[tops[y]], rows[tops[y] + 1], down[y]
            for x in range(len(top)):
                value = top[x] + (bottom[x] - top[x]) * weight
                pixels[channel, y, x] = np.uint8(min(max(value, _ZERO), _ONE) * _PIXEL_SCALE)
