"""Textures apart from their model: nothing that a picture can show is lost on the way."""

from __future__ import annotations

import ctypes

import mujoco
import numpy as np
import pytest

from ttrl_env.engines.mujoco import mujoco_c
from ttrl_env.engines.mujoco.layouts import model_layout
from ttrl_env.engines.mujoco.model_copies import ShallowCopy
from ttrl_env.engines.native.task.textures import (
    Textures,
    merge_equal_textures,
    take_textures,
    without_textures,
)

RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
CUT = {"tex_width", "tex_height", "tex_adr", "tex_data"}

SCENE = """
<mujoco>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".3 .5 .7" rgb2="0 0 0" width="8" height="48"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1="1 0 0" width="32" height="16"/>
    <texture name="tiles again" type="2d" builtin="checker" rgb1="1 0 0" width="32" height="16"/>
    <texture name="tiles turned" type="2d" builtin="checker" rgb1="1 0 0" width="16" height="32"/>
    <texture name="dice" type="cube" builtin="flat" mark="edge" rgb1="0 1 0" width="8" height="8"/>
    <texture name="hidden" type="2d" builtin="flat" rgb1="0 1 1" width="64" height="64"/>
    <texture name="unused" type="2d" builtin="flat" rgb1="1 1 0" width="64" height="64"/>
    <material name="tiles" texture="tiles"/>
    <material name="tiles again" texture="tiles again"/>
    <material name="tiles turned" texture="tiles turned"/>
    <material name="dice" texture="dice"/>
    <material name="hidden" texture="hidden"/>
  </asset>
  <worldbody>
    <geom type="plane" size="1 1 1" material="tiles" group="1"/>
    <geom type="plane" pos="0 0 .1" size=".3 .3 1" material="tiles again" group="1"/>
    <geom type="box" pos=".3 0 .3" size=".1 .2 .1" material="dice" group="1"/>
    <geom type="box" pos="-.3 0 .3" size=".1 .2 .1" material="hidden" group="0"/>
    <site type="box" pos="0 0 .5" size=".1 .1 .01" material="tiles turned"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(SCENE)


def own_pixels(model: mujoco.MjModel, name: str) -> np.ndarray:
    texture = model.texture(name)
    size = int(texture.width[0] * texture.height[0] * texture.nchannel[0])
    return model.tex_data[int(texture.adr[0]) :][:size]


def kept_pixels(model: mujoco.MjModel, textures: Textures, name: str) -> np.ndarray:
    texture = model.texture(name).id
    width, height, start = (int(values[texture]) for values in textures.layout)
    return textures.pixels[start:][: width * height * int(model.tex_nchannel[texture])]


def test_what_pictures_can_show_is_kept_and_the_rest_is_cut_to_a_pixel(model: mujoco.MjModel) -> None:
    textures = take_textures(model)
    for name in ("sky", "tiles", "tiles again", "tiles turned", "dice"):
        np.testing.assert_array_equal(kept_pixels(model, textures, name), own_pixels(model, name))
    for name in ("hidden", "unused"):
        np.testing.assert_array_equal(kept_pixels(model, textures, name), own_pixels(model, name)[:3])


def test_equal_textures_are_used_once_and_similar_ones_are_not(model: mujoco.MjModel) -> None:
    separate = len(take_textures(model).pixels)
    merge_equal_textures(model)
    used = [int(model.material(name).texid[RGB]) for name in ("tiles", "tiles again", "tiles turned")]
    assert used == [model.texture(name).id for name in ("tiles", "tiles", "tiles turned")]
    assert separate - len(take_textures(model).pixels) == (32 * 16 - 1) * 3


def test_a_model_without_textures_differs_in_nothing_else(model: mujoco.MjModel) -> None:
    bare = without_textures(model, model_layout(model))
    assert bare.ntexdata == len(bare.tex_data) == 3
    for name in dir(model):
        own = getattr(model, name)
        if isinstance(own, np.ndarray) and not name.startswith("_") and name not in CUT:
            np.testing.assert_array_equal(getattr(bare, name), own, err_msg=name)
    assert bare.names == model.names


def test_lent_textures_are_in_the_copy_and_not_in_the_model(model: mujoco.MjModel) -> None:
    layout, textures = model_layout(model), take_textures(model)
    bare = without_textures(model, layout)
    saved = mujoco_c.save_model(bare._address)
    lent = ShallowCopy(bare, layout, **textures.fields())
    size = {4: ctypes.c_int32, 8: ctypes.c_int64}[layout.size_bytes]
    length = size.from_address(lent.address + layout.ntexdata).value
    assert length == len(textures.pixels)
    assert pointed_at(lent.address + layout.tex_data, length) == textures.pixels.tobytes()
    for name in ("width", "height"):
        values = getattr(textures.layout, name).astype(np.int32)
        assert pointed_at(lent.address + getattr(layout, f"tex_{name}"), values.nbytes) == values.tobytes()
    start = textures.layout.start.astype(bare.tex_adr.dtype)
    assert pointed_at(lent.address + layout.tex_adr, start.nbytes) == start.tobytes()
    np.testing.assert_array_equal(mujoco_c.save_model(bare._address), saved)


def pointed_at(address: int, length: int) -> bytes:
    """What the pointer at an address points at."""
    pointer = ctypes.c_void_p.from_address(address).value
    assert pointer is not None
    return ctypes.string_at(pointer, length)
