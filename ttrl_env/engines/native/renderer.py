"""Off-screen rendering with one OpenGL context for each worker thread, shared by all replicas and tasks.

An image is rendered from a :class:`~ttrl_env.engines.native.records.Sample`, the geometry of the moment at
which LIBERO would have rendered it. So only the images that are returned are rendered. Scene options and
buffers are those of robosuite, and the pixels equal LIBERO's.
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

import mujoco  # noqa: E402

from ttrl_env.engines.mujoco import mujoco_c  # noqa: E402
from ttrl_env.engines.mujoco.model_copies import ShallowCopy  # noqa: E402
from ttrl_env.engines.mujoco.records import RENDERED  # noqa: E402
from ttrl_env.engines.native.records import Sample  # noqa: E402
from ttrl_env.engines.native.task.bundle import TaskBundle  # noqa: E402
from ttrl_env.engines.native.task.textures import HIDDEN_GROUP  # noqa: E402

_MAX_GEOMS = 1000
"""Maximum number of geoms in a rendered scene, as in robosuite."""

_VISUAL_GROUP = 1
"""The group of robosuite's visible geoms."""

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
"""A model whose textures make Mesa compile every shader that it uses for mipmaps."""


class Renderer:
    """Renders in one thread: its OpenGL context, and the meshes and textures uploaded to it.

    Every method must be called by the same thread, because OpenGL contexts belong to threads. It must not be
    the main thread, where other libraries expect their own context to stay current.
    """

    def __init__(self, image_size: int) -> None:
        """Set the image size; the context is made later, when the first image is rendered."""
        self._image_size = image_size
        self._gl: Any = None
        self._renderers: dict[TaskBundle, _TaskRenderer] = {}

    def render(self, bundle: TaskBundle, sample: Sample, camera: str, out: NDArray[np.uint8]) -> None:
        """Render a task's camera into ``out`` ``[image_size, image_size, 3]``, bottom row first."""
        self.upload(bundle)
        self._renderers[bundle].render(sample, camera, out)

    def upload(self, bundle: TaskBundle) -> None:
        """Upload a task's meshes and textures to this thread's context, unless they are there."""
        self.open()
        if bundle not in self._renderers:
            self._renderers[bundle] = _TaskRenderer(bundle, self._image_size)

    def open(self) -> None:
        """Make the context, unless it exists."""
        if self._gl is None:
            self._gl = _gl_context(self._image_size)
            self._gl.make_current()

    def warm_up(self) -> None:
        """Make the context and have OpenGL compile its mipmap shaders; does nothing if the context exists.

        On a CPU, compiling takes half of the first upload's time. Call this while the thread waits for files.
        """
        if self._gl is None:
            self.open()
            model = mujoco.MjModel.from_xml_string(_TEXTURES_OF_EVERY_KIND)
            context = _render_context(model._address)
            mujoco_c.functions().mjr_freeContext(_address(context))

    def keep_only(self, bundles: Collection[TaskBundle]) -> None:
        """Free the meshes and textures of other tasks: hundreds of megabytes each."""
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

    MuJoCo is called through ctypes: its bindings would hold the GIL during the upload, which takes a second.
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
        with self._bundle.rendering:  # the burners' colours are in the shared model
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
        # each task has its own buffers in the shared OpenGL context; without this call MuJoCo would render
        # into those of the task rendered last
        mj.mjr_setBuffer(int(mujoco.mjtFramebuffer.mjFB_OFFSCREEN), _address(self._context))
        mj.mjr_render(self._viewport, _address(self._scene), _address(self._context))
        if not (out.flags.c_contiguous and out.dtype == np.uint8):
            raise ValueError("out: expected a contiguous uint8 array")
        mj.mjr_readPixels(out.ctypes.data, None, self._viewport, _address(self._context))

    def close(self) -> None:
        mujoco_c.functions().mjv_freeScene(_address(self._scene))
        mujoco_c.functions().mjr_freeContext(_address(self._context))


def _uploaded(bundle: TaskBundle, image_size: int) -> ShallowCopy:
    """The model to upload to OpenGL: with its textures, and without the meshes that no image shows."""
    model = bundle.model
    shown = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (model.geom_group != HIDDEN_GROUP)
    num_faces = np.zeros_like(model.mesh_facenum)
    meshes = model.geom_dataid[shown]
    num_faces[meshes] = model.mesh_facenum[meshes]
    with bundle.rendering:
        buffer = model.vis.global_
        buffer.offwidth = buffer.offheight = image_size  # clearing a larger buffer takes longer
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
    """An off-screen context of the chosen backend, even if MuJoCo was imported before the choice."""
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
