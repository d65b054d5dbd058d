"""Write ``golden_pixels.npz``: what TensorFlow makes of formula images on the way into OpenVLA.

    pip install tensorflow-cpu    # in an environment of its own
    python tests/agents/policies/make_pixel_golden.py

The operations and their order are those of the published LIBERO evaluations: JPEG, resize, centre crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).with_name("golden_pixels.npz")

SIZES = {64: 56, 256: 224}
"""Camera size and the towers' image size."""

KEPT_ROWS = {64: slice(None), 256: slice(0, None, 16)}
"""Rows of the result that are kept, so that the file stays small."""


def formula_images(size: int) -> np.ndarray:
    """Waves, an edge and a fine pattern, ``[2, size, size, 3]`` uint8; seen upside down by LIBERO."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = [np.sin(9 * x + phase) * np.cos(7 * y - phase) for phase in (0.0, 1.1, 2.3)]
    waves = 127.5 + 120 * np.stack(channels, axis=-1)
    fine = waves + 60 * np.sin(np.arange(size) * 1.9)[:, None, None]
    fine[x + y > 1.2] = (250, 10, 130)
    return np.clip(np.stack([waves, fine]), 0, 255).astype(np.uint8)


def main() -> None:
    import tensorflow as tf

    golden: dict[str, Any] = {"tensorflow": np.array(tf.__version__)}
    for camera, size in SIZES.items():
        images = [_tensorflow_pixels(image[::-1, ::-1], size, tf) for image in formula_images(camera)]
        golden[f"pixels_{camera}"] = np.stack(images)[:, :, KEPT_ROWS[camera]]
    np.savez_compressed(GOLDEN, **golden)


def _tensorflow_pixels(image: np.ndarray, size: int, tf: Any) -> np.ndarray:
    """``[3, size, size]`` uint8."""
    encoded = tf.image.encode_jpeg(np.ascontiguousarray(image))
    decoded = tf.io.decode_image(encoded, expand_animations=False, dtype=tf.uint8)
    resized = tf.image.resize(decoded, (size, size), method="lanczos3", antialias=True)
    resized = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    unit = tf.image.convert_image_dtype(resized, tf.float32)[None]
    side = 0.9**0.5
    box = [[(1 - side) / 2, (1 - side) / 2, (1 + side) / 2, (1 + side) / 2]]
    cropped = tf.clip_by_value(tf.image.crop_and_resize(unit, box, [0], (size, size)), 0, 1)
    pixels = tf.image.convert_image_dtype(cropped, tf.uint8, saturate=True)
    return pixels.numpy()[0].transpose(2, 0, 1)


if __name__ == "__main__":
    main()
