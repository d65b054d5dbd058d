"""Converts rendered camera images to the vision towers' input, as OpenVLA was trained on them.

TensorFlow processed LIBERO's data: JPEG, a Lanczos resize, random crops. At test time the crop is the
central 90 % of the area; of RoboTwin's images, that alone. This module computes the same on NumPy arrays,
without TensorFlow. Comments name the conventions of TensorFlow that each step follows.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from ttrl_env.agents.policies.cameras import World
from ttrl_env.agents.policies.openvla.banded import Band, weigh_rows
from ttrl_env.machine.cores import usable_cores

CROP_AREA = 0.9
"""Fraction of the image's area that the centre crop keeps."""

JPEG_QUALITY = 95
"""TensorFlow's default, with 4:2:0 chroma subsampling."""

FAST_DCT = True
"""TensorFlow decodes JPEG with libjpeg's fast, inaccurate transform (``JDCT_IFAST`` in its
``decode_image_op.cc``) and encodes with the accurate one. The difference is 1.5 grey levels on average."""

_LANCZOS_RADIUS = 3


def camera_shape(world: World, image_size: int) -> tuple[int, int]:
    """Height and width of the training data's camera images, pixels, if the towers take 224.

    LIBERO's are 256 x 256, RoboTwin's 240 x 320; for towers of another size in proportion.
    """
    height, width = (256, 256) if world == "LIBERO" else (240, 320)
    return image_size * height // 224, image_size * width // 224


def prepare_images(images: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Convert LIBERO's images ``[rows, H, H, 3]`` uint8, rotated, to pixels ``[rows, 3, S, S]`` uint8."""
    lanczos = _lanczos(images.shape[1], image_size)

    def prepare(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        half = weigh_rows(_planes(_jpeg_round_trip(image)), lanczos)
        resized = weigh_rows(_transposed(half), lanczos)
        # tf.round rounds halves to even, as NumPy does
        np.rint(resized, out=resized)
        np.clip(resized, 0, 255, out=resized)
        return _centre_crop(resized, image_size)

    return _for_each(prepare, images)


def crop_images(images: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Convert RoboTwin's images ``[rows, H, W, 3]`` uint8 to pixels ``[rows, 3, S, S]`` uint8.

    SimpleVLA-RL crops and resizes them in one step, without JPEG and Lanczos.
    """
    return _for_each(lambda image: _centre_crop(_transposed(_planes(image)), image_size), images)


def _for_each(
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], images: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """``prepare`` every image, in as many threads as there are cores: all of its work releases the GIL."""
    threads = min(len(images), _cores())
    if threads < 2:
        return np.stack([prepare(image) for image in images])
    with ThreadPoolExecutor(threads) as pool:
        return np.stack([*pool.map(prepare, images)])


_cores = functools.cache(usable_cores)
"""Asked once: it reads files, which takes longer than preparing an image."""


def _planes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``[3, H, W]`` float32 of an image ``[H, W, 3]``."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def _transposed(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[3, W, H]`` of planes ``[3, H, W]``, so that their columns can be weighed as rows."""
    return np.ascontiguousarray(planes.transpose(0, 2, 1))


def _centre_crop(columns: NDArray[np.float32], image_size: int) -> NDArray[np.uint8]:
    """The central part of transposed planes ``[3, W, H]`` of 0 to 255, resized to planes ``[3, S, S]``.

    TensorFlow interpolates along the columns first.
    """
    columns *= np.float32(1 / 255)
    width, height = columns.shape[1:]
    half = weigh_rows(columns, _crop(width, image_size))
    cropped = weigh_rows(_transposed(half), _crop(height, image_size))
    # tf.image.convert_image_dtype back to uint8 scales by 255.5 and truncates
    np.clip(cropped, 0, 1, out=cropped)
    cropped *= np.float32(255.5)
    return cropped.astype(np.uint8)


def _jpeg_round_trip(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compress an image as JPEG and decode it again."""
    buffer = io.BytesIO()
    upright = Image.fromarray(np.ascontiguousarray(image))
    upright.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return simplejpeg.decode_jpeg(buffer.getvalue(), "RGB", fastdct=FAST_DCT, fastupsample=False)


@functools.cache
def _lanczos(size: int, out: int) -> Band:
    """Weights ``[out, size]`` of ``tf.image.resize(..., "lanczos3", antialias=True)``.

    Pixel centres are at half pixels. When the image shrinks, the kernel is stretched by the ratio. Weights
    outside the image are dropped, and the others normalised to a sum of one.
    """
    ratio = size / out
    stretch = max(ratio, 1.0)
    centres = (np.arange(out) + 0.5) * ratio
    distance = (np.arange(size) + 0.5 - centres[:, None]) / stretch
    weights = np.where(
        np.abs(distance) <= _LANCZOS_RADIUS, np.sinc(distance) * np.sinc(distance / _LANCZOS_RADIUS), 0.0
    )
    return Band.of(weights / weights.sum(axis=1, keepdims=True))


@functools.cache
def _crop(size: int, out: int) -> Band:
    """Weights ``[out, size]`` of a centred ``tf.image.crop_and_resize``: bilinear, with aligned corners."""
    side = np.sqrt(CROP_AREA)
    coordinates = (1 - side) / 2 * (size - 1) + np.arange(out) * (side * ((size - 1) / (out - 1)))
    lower = np.floor(coordinates).astype(np.int64)
    upper = np.ceil(coordinates).astype(np.int64)
    fraction = coordinates - lower
    weights = np.zeros((out, size))
    rows = np.arange(out)
    np.add.at(weights, (rows, lower), 1 - fraction)
    np.add.at(weights, (rows, upper), fraction)
    return Band.of(weights)
