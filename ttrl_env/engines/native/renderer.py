"""Off-screen cameras: one OpenGL context a worker thread, shared by all replicas of all tasks.

An image is rendered from a :class:`~ttrl_env.engines.native.records.Sample`, the geometry of the moment at
which LIBERO would have rendered it. So only the images that are returned are rendered. Scene options and
buffers are robosuite's, and the pixels LIBERO's.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines import opengl
from ttrl_env.errors import ForkedProcessError

opengl.require_gl()  # must come before MuJoCo is imported

import mujoco  # type: ignore[import-untyped]  # noqa: E402

from ttrl_env.engines.mujoco import mujoco_c  # noqa: E402
from ttrl_env.engines.mujoco.model_copies import ShallowCopy  # noqa: E402
from ttrl_env.engines.mujoco.records import RENDERED  # noqa: E402
from ttrl_env.engines.native.records import Sample  # noqa: E402
from ttrl_env.engines.native.task.bundle import TaskBundle  # noqa: E402
from ttrl_env.engines.native.task.textures import HIDDEN_GROUP  # noqa: E402

_MAX_GEOMS = 1000
"""Most geoms that a scene renders; robosuite's number."""

_VISUAL_GROUP = 1
"""The group of robosuite's geoms that are to be seen."""

_TEXTURES_OF_EVERY_KIND = """
<mujoco>
  <visual> <global offwidth="8" offheight="8"/> <quality shadowsize="0"/> </visual>
  <asset>
    <texture name="powers of two" type="2d" builtin="flat" width="4" height="4"/>
    <texture name="other sizes" type="2d" builtin="flat" width="6" height="6"/>
    <texture name="powers of two, cube" type="cube" builtin="flat" width="4" height="4"/>
    <texture name="other sizes, cube" type="cube" builtin="flat" width="6" height="6"/>
  </asset>
</mujoco>
"""
"""A model whose textures need every shader that Mesa makes mipmaps with."""


class Renderer:
    """Renders in one thread: its OpenGL context, and what it has uploaded of each task.

    Every method must be called by the same thread: OpenGL contexts belong to threads. Not the main
    one, where other libraries expect their own context to stay current.
    """

    def __init__(self, image_size: int) -> None:
        """The context is made when the first image is rendered."""
        self._image_size = image_size
        self._gl: Any = None
        self._renderers: dict[TaskBundle, _TaskRenderer] = {}

    def render(self, bundle: TaskBundle, sample: Sample, camera: str, out: NDArray[np.uint8]) -> None:
        """Render a task's camera into ``out`` ``[image_size, image_size, 3]``, bottom row first."""
        self.upload(bundle)
        self._renderers[bundle].render(sample, camera, out)

    def upload(self, bundle: TaskBundle) -> None:
        """Bring a task's meshes and textures into this thread's context, unless they are there."""
        self.open()
        if bundle not in self._renderers:
            self._renderers[bundle] = _TaskRenderer(bundle, self._image_size)

    def open(self) -> None:
        """Make the context, unless it is made."""
        if self._gl is None:
            self._gl = _gl_context(self._image_size)
            self._gl.make_current()

    def warm_up(self) -> None:
        """Make the context and have OpenGL compile what makes mipmaps; nothing if the context is made.

        A first upload on a CPU compiles for half of its time. So do this where a thread waits for files.
        """
        if self._gl is None:
            self.open()
            model = mujoco.MjModel.from_xml_string(_TEXTURES_OF_EVERY_KIND)
            context = _render_context(model._address)
            mujoco_c.functions().mjr_freeContext(_address(context))

    def keep_only(self, bundles: Collection[TaskBundle]) -> None:
        """Free what was uploaded of other tasks: hundreds of megabytes each."""
        for bundle in [bundle for bundle in self._renderers if bundle not in bundles]:
            self._renderers.pop(bundle).close()

    def close(self) -> None:
        """Free the context and everything uploaded; safe to call twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        if self._gl is not None:
            self._gl.free()
            self._gl = None


class _TaskRenderer:
    """One task's meshes and textures in one OpenGL context, which must be current.

    MuJoCo is called through ctypes: its bindings would keep the GIL for the second of uploading.
    """

    def __init__(self, bundle: TaskBundle, image_size: int) -> None:
        mj = mujoco_c.functions()
        self._bundle = bundle
        self._viewport = mujoco_c.Rect(0, 0, image_size, image_size)
        self._option, self._camera = mujoco_c.Option(), mujoco_c.Camera()
        self._perturbation, self._scene = mujoco_c.opaque(), mujoco_c.opaque()
        mj.mjv_defaultOption(_address(self._option))
        self._option.geomgroup[HIDDEN_GROUP] = 0
        self._option.geomgroup[_VISUAL_GROUP] = 1
        mj.mjv_defaultPerturb(_address(self._perturbation))
        mj.mjv_defaultCamera(_address(self._camera))
        self._camera.type = int(mujoco.mjtCamera.mjCAMERA_FIXED)
        self._data = mujoco.MjData(bundle.model)
        mj.mjv_defaultScene(_address(self._scene))
        mj.mjv_makeScene(bundle.model._address, _address(self._scene), _MAX_GEOMS)
        self._context = _render_context(_uploaded(bundle, image_size))
        bundle.textures.let_go()

    def render(self, sample: Sample, camera: str, out: NDArray[np.uint8]) -> None:
        mj, model, data = mujoco_c.functions(), self._bundle.model, self._data
        for name in RENDERED:
            getattr(data, name)[:] = getattr(sample, name)
        self._camera.fixedcamid = model.camera(camera).id
        with self._bundle.rendering:  # a burner's colour is part of the model, and the model is shared
            model.site_rgba[self._bundle.arrays.burners.sites, 3] = sample.burner_alpha
            mj.mjv_updateScene(
                model._address,
                data._address,
                _address(self._option),
                _address(self._perturbation),
                _address(self._camera),
                int(mujoco.mjtCatBit.mjCAT_ALL),
                _address(self._scene),
            )
        # every task has buffers of its own in the same OpenGL context: bind them, or those of the task
        # that was rendered last are rendered into
        mj.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), _address(self._context))
        mj.mjr_render(self._viewport, _address(self._scene), _address(self._context))
        if not (out.flags.c_contiguous and out.dtype == np.uint8):
            raise ValueError("out: expected a contiguous uint8 array")
        mj.mjr_readPixels(out.ctypes.data, None, self._viewport, _address(self._context))

    def close(self) -> None:
        mujoco_c.functions().mjv_freeScene(_address(self._scene))
        mujoco_c.functions().mjr_freeContext(_address(self._context))


def _uploaded(bundle: TaskBundle, image_size: int) -> ShallowCopy:
    """What OpenGL is given of a task: its model with textures, and without meshes that no image shows."""
    model = bundle.model
    shown = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (model.geom_group != HIDDEN_GROUP)
    num_faces = np.zeros_like(model.mesh_facenum)
    meshes = model.geom_dataid[shown]
    num_faces[meshes] = model.mesh_facenum[meshes]
    with bundle.rendering:
        buffer = model.vis.global_
        buffer.offwidth = buffer.offheight = image_size  # clearing a larger one costs time
        return ShallowCopy(model, bundle.model_layout, mesh_facenum=num_faces, **bundle.textures.fields())


def _render_context(model: Any) -> Any:
    """MuJoCo's ``mjrContext`` of a model or of a model's address, to be freed by ``mjr_freeContext``."""
    mj, context = mujoco_c.functions(), mujoco_c.opaque()
    mj.mjr_defaultContext(_address(context))
    mj.mjr_makeContext(model, _address(context), int(mujoco.mjtFontScale.mjFONTSCALE_150))
    return context


def _address(structure: Any) -> int:
    return ctypes.addressof(structure)


_gl_process: int | None = None
"""The process that made the first OpenGL context."""


def _gl_context(size: int) -> Any:
    """An off-screen context of the backend in force, also where MuJoCo was imported before it was chosen."""
    global _gl_process
    if _gl_process not in (None, os.getpid()):
        raise ForkedProcessError(
            "this process was forked from one that had already rendered, and OpenGL does not survive that "
            "(it would hang); start processes with the 'spawn' method, or fork before anything is rendered"
        )
    _gl_process = os.getpid()
    opengl.require_gl()
    opengl.load_triton_first()
    backend = opengl.choose_backend()
    with opengl.explaining_failures():
        if backend in ("egl", "osmesa"):
            return importlib.import_module(f"mujoco.{backend}").GLContext(size, size)
        return mujoco.GLContext(size, size)
