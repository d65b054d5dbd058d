"""A task's textures, stored apart from its model: they are most of its bytes, and only OpenGL reads them.

A model in a bundle has one pixel for each texture. A thread that uploads the model uses a copy with the full
textures. Afterwards they leave memory; the next thread reads them from their file again.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco import mujoco_c, versions
from ttrl_env.engines.mujoco.model_copies import ShallowCopy
from ttrl_env.engines.mujoco.records import ModelLayout
from ttrl_env.engines.native.records import TextureLayout
from ttrl_env.errors import EnvironmentDiedError
from ttrl_env.machine.leased_files import read_file

HIDDEN_GROUP = 0
"""The group of robosuite's collision geoms, which no image shows."""


class StoredBytes(NamedTuple):
    """A file, with the length and the CRC-32 that its content must have."""

    path: Path
    length: int
    checksum: int

    def read(self) -> NDArray[np.uint8] | None:
        """The content, read-only, or ``None`` if the file is missing or damaged.

        While the array exists, other processes that try to change the file have to wait.
        """
        try:
            content = read_file(self.path, self.length)
        except OSError:
            return None
        return content if content is not None and zlib.crc32(content.data) == self.checksum else None


class Textures:
    """The pixels of a model's textures, in memory or in a file that is read when they are needed."""

    def __init__(
        self, *, layout: TextureLayout, pixels: NDArray[np.uint8], file: StoredBytes | None = None
    ) -> None:
        """``pixels`` holds all textures in sequence; ``file`` is the file from which they were read."""
        self.layout = layout
        self._file = file
        self._pixels: NDArray[np.uint8] | None = pixels
        self._lent: weakref.ref[NDArray[np.uint8]] = weakref.ref(pixels)
        self._reading = threading.Lock()

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels of all textures in sequence; threads that use them at the same time share the array."""
        with self._reading:
            pixels = self._lent() if self._pixels is None else self._pixels
            if pixels is None:
                pixels = self._read_again()
                self._lent = weakref.ref(pixels)
            return pixels

    def fields(self) -> dict[str, Any]:
        """Fields that give a :class:`~ttrl_env.engines.mujoco.model_copies.ShallowCopy` the full textures."""
        pixels = self.pixels
        return {
            "tex_width": self.layout.width,
            "tex_height": self.layout.height,
            "tex_adr": self.layout.start,
            "tex_data": pixels,
            "ntexdata": len(pixels),
        }

    def let_go(self) -> None:
        """Release the memory of the pixels, if they can be read from a file again."""
        if self._file is not None:
            self._pixels = None

    def _read_again(self) -> NDArray[np.uint8]:
        assert self._file is not None  # without a file they stay in memory
        pixels = self._file.read()
        if pixels is None:
            raise EnvironmentDiedError(
                f"{self._file.path}: changed or deleted while its task was open, and a thread still had to "
                f"render it; make a new environment (the task is compiled again)"
            )
        return pixels


def take_textures(model: mujoco.MjModel) -> Textures:
    """A model's textures; those that no image can show are cut to a single pixel."""
    shown = _shown_textures(model)
    width = np.where(shown, model.tex_width, 1).astype(np.int64)
    height = np.where(shown, model.tex_height, 1).astype(np.int64)
    lengths = width * height * model.tex_nchannel
    ends = np.cumsum(lengths)
    pixels = np.empty(int(lengths.sum()), dtype=np.uint8)
    for source, length, end in zip(model.tex_adr, lengths, ends, strict=True):
        pixels[end - length : end] = model.tex_data[source : source + length]
    return Textures(layout=TextureLayout(width, height, ends - lengths), pixels=pixels)


def merge_equal_textures(model: mujoco.MjModel) -> None:
    """Make materials with equal textures share one: each of two equal bowls has 16 million pixels."""
    first: dict[tuple[Any, ...], int] = {}
    description = versions.texture_description()
    for texture in range(model.ntex):
        shape = tuple(int(getattr(model, f"tex_{name}")[texture]) for name in description)
        start, (width, height, channels) = model.tex_adr[texture], shape[:3]
        content = hashlib.sha256(model.tex_data[start : start + width * height * channels]).hexdigest()
        same = first.setdefault((shape, content), texture)
        model.mat_texid[model.mat_texid == texture] = same


def without_textures(model: mujoco.MjModel, layout: ModelLayout) -> mujoco.MjModel:
    """A copy of a model in which every texture is the same pixel."""
    ones = np.ones(model.ntex, dtype=np.int64)
    pixel = Textures(
        layout=TextureLayout(width=ones, height=ones, start=0 * ones),
        pixels=np.zeros(max(model.tex_nchannel, default=0), dtype=np.uint8),
    )
    freed = _aligned(len(model.tex_data)) - _aligned(len(pixel.pixels))
    bare = ShallowCopy(model, layout, nbuffer=model.nbuffer - freed, **pixel.fields())
    return mujoco_c.load_model(mujoco_c.save_model(bare))


def _aligned(length: int) -> int:
    """Bytes that an array takes in a model: whole cache lines. Loading a model checks their sum."""
    return -(-length // 64) * 64


def _shown_textures(model: mujoco.MjModel) -> NDArray[np.bool_]:
    """``[ntex]`` bool: textures of the sky, of sites and of geoms that are not hidden."""
    shown = model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX
    materials = np.concatenate([model.geom_matid[model.geom_group != HIDDEN_GROUP], model.site_matid])
    used = model.mat_texid[np.unique(materials[materials >= 0])]
    shown[used[used >= 0]] = True
    return shown
