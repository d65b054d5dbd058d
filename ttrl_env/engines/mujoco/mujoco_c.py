"""MuJoCo's C functions through ctypes, for what its Python bindings do while they hold the GIL.

Opening a task means copying and uploading hundreds of megabytes. The bindings keep every other thread
waiting meanwhile; calls through ctypes do not. Light to import: compiled code is in
:mod:`ttrl_env.engines.mujoco.libmujoco`.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco import versions

versions.require_supported()


class Rect(ctypes.Structure):
    """``mjrRect``: where on a buffer to render, in pixels."""

    _fields_ = (
        ("left", ctypes.c_int),
        ("bottom", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
    )


class Option(ctypes.Structure):
    """The beginning of ``mjvOption``, and room for the rest."""

    _fields_ = (
        ("label", ctypes.c_int),
        ("frame", ctypes.c_int),
        ("geomgroup", ctypes.c_uint8 * 6),
        ("rest", ctypes.c_uint8 * 4096),
    )


class Camera(ctypes.Structure):
    """The beginning of ``mjvCamera``, and room for the rest."""

    _fields_ = (("type", ctypes.c_int), ("fixedcamid", ctypes.c_int), ("rest", ctypes.c_uint8 * 4096))


def opaque() -> Any:
    """Room for a structure of MuJoCo's that only MuJoCo looks into; the largest takes 60 kilobytes."""
    return (ctypes.c_uint8 * (1 << 20))()


@functools.cache
def functions() -> Any:
    """The C library that MuJoCo's bindings have loaded, its functions' argument types declared.

    A ``CDLL`` of our own: argument types set on it concern nobody else.
    """
    library = ctypes.CDLL(mujoco._functions.__file__)
    address, integer = ctypes.c_void_p, ctypes.c_int
    versions.declare(library)
    library.mjv_makeScene.argtypes = (address, address, integer)
    library.mjv_updateScene.argtypes = (address, address, address, address, address, integer, address)
    library.mjr_makeContext.argtypes = (address, address, integer)
    library.mjr_setBuffer.argtypes = (integer, address)
    library.mjr_render.argtypes = (Rect, address, address)
    library.mjr_readPixels.argtypes = (address, address, Rect, address)
    for name in ("mjv_defaultOption", "mjv_defaultCamera", "mjv_defaultPerturb", "mjv_defaultScene"):
        getattr(library, name).argtypes = (address,)
    for name in ("mjv_freeScene", "mjr_defaultContext", "mjr_freeContext"):
        getattr(library, name).argtypes = (address,)
    for name in dir(library):
        if name.startswith(("mjv_", "mjr_")):
            getattr(library, name).restype = None
    return library


def load_model(content: Any) -> mujoco.MjModel:
    """A model from its binary form, in any buffer. Raises ``ValueError`` if it is not a model."""
    content = np.frombuffer(content, dtype=np.uint8)
    model = versions.load_model(functions(), content)
    if not model:
        raise ValueError(f"not a model in the binary form of MuJoCo {mujoco.__version__}")
    return mujoco.MjModel._from_model_ptr(model)  # which owns it from here on


def save_model(model: Any) -> NDArray[np.uint8]:
    """The binary form of a model: the address of an ``mjModel``, or a shallow copy of one."""
    content = np.empty(functions().mj_sizeModel(model), dtype=np.uint8)
    functions().mj_saveModel(model, None, content.ctypes.data, len(content))
    return content


def on_fatal_error(handler: Callable[[str], None]) -> None:
    """Have ``handler(message)`` called in the thread in which MuJoCo hits a fatal error.

    MuJoCo would end the process. The handler must not return: MuJoCo would go on with what it cannot
    go on with. Calls through MuJoCo's Python bindings are not affected, they raise by themselves.
    """
    global _fatal_error_handler  # MuJoCo keeps the address, so Python has to keep the function

    def decode(message: bytes | None) -> None:
        handler((message or b"").decode(errors="replace"))

    _fatal_error_handler = _MESSAGE_FUNCTION(decode)
    address = ctypes.cast(_fatal_error_handler, ctypes.c_void_p).value
    ctypes.c_void_p.in_dll(functions(), "mju_user_error").value = address


_MESSAGE_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_fatal_error_handler: Any = None
