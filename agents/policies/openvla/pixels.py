"""Converts rendered camera images to the vision towers' input, as OpenVLA was trained on them.

TensorFlow processed LIBERO's data: JPEG, a Lanczos resize, random crops. At test time the crop is the
central 90 % of the area; of RoboTwin's images, that alone. This module computes the same on NumPy arrays,
without TensorFlow. Comments name the conventions of TensorFlow that each step follows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from ttrl_env.agents.policies.cameras import World
from ttrl_env.agents.policies.openvla.resampling import centre_crop, lanczos_resize
from ttrl_env.machine.cores import usable_cores

JPEG_QUALITY = 95
"""TensorFlow's default, with 4:2:0 chroma subsampling."""

FAST_DCT = True
"""TensorFlow decodes JPEG with libjpeg's fast, inaccurate transform (``JDCT_IFAST`` in its
``decode_image_op.cc``) and encodes with the accurate one. The difference is 1.5 grey levels on average."""

_UNIT = np.float32(1 / 255)


def camera_shape(world: World, image_size: int) -> tuple[int, int]:
    """Height and width of the training data's camera images, pixels, if the towers take 224.

    LIBERO's are 256 x 256, RoboTwin's 240 x 320; for towers of another size in proportion.
    """
    height, width = (256, 256) if world == "LIBERO" else (240, 320)
    return image_size * height // 224, image_size * width // 224


def prepare_images(images: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Convert LIBERO's images ``[rows, H, H, 3]`` uint8, rotated, to pixels ``[rows, 3, S, S]`` uint8."""
    return _convert_each(_prepare, images, image_size)


def crop_images(images: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Convert RoboTwin's images ``[rows, H, W, 3]`` uint8 to pixels ``[rows, 3, S, S]`` uint8.

    SimpleVLA-RL crops and resizes them in one step, without JPEG and Lanczos.
    """
    return _convert_each(_crop, images, image_size)


def _convert_each(
    convert: Callable[[NDArray[np.uint8], NDArray[np.uint8]], None],
    images: NDArray[np.uint8],
    image_size: int,
) -> NDArray[np.uint8]:
    """Call ``convert(image, pixels)`` for each image, several of them at a time, and return all pixels."""
    pixels = np.empty((len(images), 3, image_size, image_size), dtype=np.uint8)
    map_images = map if len(images) == 1 else _threads().map
    list(map_images(convert, images, pixels))  # a list waits for all of them and raises their errors
    return pixels


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="ttrl-pixels")


# A forked child inherits the executor but none of its threads, and would wait for them forever.
os.register_at_fork(after_in_child=_threads.cache_clear)


def _prepare(image: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    planes = lanczos_resize(_jpeg_round_trip(image), pixels.shape[1])
    # tf.round rounds halves to even, as NumPy does
    np.rint(planes, out=planes)
    np.clip(planes, 0, 255, out=planes)
    planes *= _UNIT
    centre_crop(planes, pixels)


def _crop(image: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    centre_crop(np.ascontiguousarray(image.transpose(2, 0, 1)) * _UNIT, pixels)


def _jpeg_round_trip(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compress an image as JPEG and decode it again.

    LIBERO's images are views, rotated by half a turn: undone here, as Pillow rotates faster than NumPy copies
    such a view. Pillow releases the GIL only when it writes to a file; this one is in memory.
    """
    rendered = Image.fromarray(np.ascontiguousarray(image[::-1, ::-1]))
    rotated = rendered.transpose(Image.Transpose.ROTATE_180)
    with open(os.memfd_create("jpeg"), "w+b") as file:
        rotated.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
        file.seek(0)
        encoded = file.read()
    return simplejpeg.decode_jpeg(encoded, "RGB", fastdct=FAST_DCT, fastupsample=False)
