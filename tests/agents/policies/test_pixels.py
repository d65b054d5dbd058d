from __future__ import annotations

import io
import math
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.agents.policies.make_pixel_golden import GOLDEN, KEPT_ROWS, SIZES, formula_images
from ttrl_env.agents.policies.cameras import image_of
from ttrl_env.agents.policies.openvla import pixels
from ttrl_env.agents.policies.openvla.pixels import camera_shape


def _smooth(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _plain_pixels(image: np.ndarray, out: int) -> np.ndarray:
    """The same path pixel by pixel, in float64 and loops, from the formulas alone."""
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(image, 2)).save(buffer, "JPEG", quality=95, subsampling=2)
    decoded = simplejpeg.decode_jpeg(buffer.getvalue(), "RGB", fastdct=True).astype(np.float64)
    resized = np.stack([_plain_lanczos(decoded[..., channel], out) for channel in range(3)], axis=-1)
    resized = np.clip(np.round(resized), 0, 255) / 255
    result = np.empty((3, out, out), dtype=np.int64)
    side = math.sqrt(0.9)
    for y in range(out):
        for x in range(out):
            v, u = ((1 - side) / 2 * (out - 1) + index * side for index in (y, x))
            top, left = int(v), int(u)
            dv, du = v - top, u - left
            upper = resized[top, left] * (1 - du) + resized[top, left + 1] * du
            lower = resized[top + 1, left] * (1 - du) + resized[top + 1, left + 1] * du
            value = np.clip(upper * (1 - dv) + lower * dv, 0, 1)
            result[:, y, x] = (value * 255.5).astype(np.int64)
    return result


def _prepared(images: np.ndarray, size: int) -> np.ndarray:
    """What the towers see of images as LIBERO renders them."""
    return pixels.prepare_images(image_of({"agentview_image": images}, "agentview"), size)


def _plain_lanczos(channel: np.ndarray, out: int) -> np.ndarray:
    def line(values: np.ndarray) -> np.ndarray:
        ratio = len(values) / out
        resized = []
        for index in range(out):
            centre, total, weighted = (index + 0.5) * ratio, 0.0, 0.0
            for source in range(len(values)):
                x = (source + 0.5 - centre) / ratio
                if abs(x) < 3:
                    kernel = 1.0 if x == 0 else 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3)
                    kernel = kernel if x == 0 else kernel / (math.pi * x) ** 2
                    total += kernel
                    weighted += kernel * values[source]
            resized.append(weighted / total)
        return np.array(resized)

    return np.apply_along_axis(line, 1, np.apply_along_axis(line, 0, channel))


@pytest.mark.parametrize(("camera", "size"), SIZES.items())
def test_pixels_are_those_of_tensorflow(camera, size) -> None:
    """Every one of them. Sums in another order would change one in 6,000, the accurate DCT two in three."""
    expected = np.load(GOLDEN)[f"pixels_{camera}"]
    ours = _prepared(formula_images(camera), size)[:, :, KEPT_ROWS[camera]]
    np.testing.assert_array_equal(ours, expected)


def test_pixels_equal_a_plain_implementation_up_to_one_grey_level_of_rounding() -> None:
    image = _smooth(64)
    fast = _prepared(image[None], 56)[0].astype(np.int64)
    plain = _plain_pixels(image, 56)
    assert np.abs(fast - plain).max() <= 1
    assert (fast != plain).mean() < 0.001


def test_jpeg_is_encoded_accurately_and_decoded_fast_as_tensorflow_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=2)
    accurate = np.asarray(Image.open(buffer)).astype(np.int64)
    ours = pixels._jpeg_round_trip(image).astype(np.int64)
    difference = np.abs(ours - accurate)
    assert 1 < difference.mean() < 2  # 0 would be the accurate transform
    assert difference.max() < 20


def test_an_even_image_stays_even() -> None:
    images = np.full((2, 256, 256, 3), 128, dtype=np.uint8)
    assert set(np.unique(_prepared(images, 224))) <= {127, 128, 129}


def test_the_image_is_rotated_by_half_a_turn() -> None:
    image = np.zeros((1, 256, 256, 3), dtype=np.uint8)
    image[0, 140:, 140:, 0] = 255  # bottom right as LIBERO renders it: top left as the policy sees it
    red = _prepared(image, 224)[0, 0].astype(float)
    assert red[:90, :90].mean() > 250
    assert red[130:, :].mean() < 5
    assert red[:, 130:].mean() < 5


def test_the_crop_keeps_the_central_nine_tenths_of_the_area() -> None:
    """A ramp from 0 to 250 over 224 columns comes back as its part from column 5.72 to column 217.28."""
    ramp = np.broadcast_to(np.linspace(250, 0, 256)[None, :, None], (256, 256, 3)).astype(np.uint8)
    row = _prepared(ramp[None], 224)[0, 0, 112].astype(float)
    lanczos_column = (np.array([5.72182, 217.27818]) + 0.5) * 256 / 224 - 0.5
    assert row[[0, -1]] == pytest.approx(lanczos_column / 255 * 250, abs=2)


@pytest.mark.parametrize("convert", [pixels.prepare_images, pixels.crop_images])
def test_an_image_alone_has_the_same_pixels_as_in_a_batch_shared_among_threads(convert, monkeypatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as threads:
        monkeypatch.setattr(pixels, "_threads", lambda: threads)
        together = convert(images, 28)
    alone = [convert(image[None], 28)[0] for image in images]
    np.testing.assert_array_equal(together, alone)


def test_no_images_have_no_pixels() -> None:
    assert pixels.prepare_images(np.empty((0, 32, 32, 3), np.uint8), 28).shape == (0, 3, 28, 28)


def test_a_forked_child_has_threads_of_its_own() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    pixels.prepare_images(images, 28)
    child = multiprocessing.get_context("fork").Process(target=pixels.prepare_images, args=(images, 28))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_training_images_had_256_pixels_or_those_of_robotwins_camera() -> None:
    assert camera_shape("LIBERO", 224) == (256, 256)
    assert camera_shape("RoboTwin", 224) == (240, 320)


def test_robotwins_images_are_cropped_and_resized_in_one_step() -> None:
    """Held against the formula of TensorFlow's crop_and_resize, pixel by pixel."""
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    side, out = math.sqrt(0.9), 28
    expected = np.empty((3, out, out), dtype=np.int64)
    for y in range(out):
        for x in range(out):
            v, u = (
                (1 - side) / 2 * (size - 1) + index * side * (size - 1) / (out - 1)
                for index, size in ((y, 30), (x, 40))
            )
            (top, dv), (left, du) = ((int(each), each - int(each)) for each in (v, u))
            corners = image[top : top + 2, left : left + 2].astype(np.float64) / 255
            rows = corners[0] * (1 - dv) + corners[1] * dv
            expected[:, y, x] = (np.clip(rows[0] * (1 - du) + rows[1] * du, 0, 1) * 255.5).astype(np.int64)
    ours = pixels.crop_images(image[None], out)[0].astype(np.int64)
    assert np.abs(ours - expected).max() <= 1
    assert (ours != expected).mean() < 0.001
