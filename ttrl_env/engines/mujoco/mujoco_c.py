"""MuJoCo's C functions through ctypes, for operations during which its Python bindings hold the GIL.

Opening a task means copying and uploading hundreds of megabytes. Meanwhile the bindings block every other
thread; calls through ctypes do not. Importing this module is cheap: compiled code is in
:mod:`ttrl_env.engines.mujoco.libmujoco`.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco import versions

versions.require_supported()


class Rect(ctypes.Structure):
    """``mjrRect``: the rectangle of a framebuffer to render to, in pixels."""

    _fields_ = (
        ("left", ctypes.c_int),
        ("bottom", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
    )


class Option(ctypes.Structure):
    """The first fields of ``mjvOption``, and memory for the rest."""

    _fields_ = (
        ("label", ctypes.c_int),
        ("frame", ctypes.c_int),
        ("geomgroup", ctypes.c_uint8 * 6),
        ("rest", ctypes.c_uint8 * 4096),
    )


class Camera(ctypes.Structure):
    """The first fields of ``mjvCamera``, and memory for the rest."""

    _fields_ = (("type", ctypes.c_int), ("fixedcamid", ctypes.c_int), ("rest", ctypes.c_uint8 * 4096))


def opaque() -> Any:
    """Memory for a structure that only MuJoCo itself reads and writes; the largest takes 60 kilobytes."""
    return (ctypes.c_uint8 * (1 << 20))()


@functools.cache
def functions() -> Any:
    """The C library that MuJoCo's bindings have loaded, with the argument types of its functions declared.

    It is a separate ``CDLL`` object: the argument types set on it affect no other user of the library.
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
    """Load a model from a buffer with its binary form. Raises ``ValueError`` if that is not a model."""
    content = np.frombuffer(content, dtype=np.uint8)
    model = versions.load_model(functions(), content)
    if not model:
        raise ValueError(f"not a model in the binary form of MuJoCo {mujoco.__version__}")
    return mujoco.MjModel._from_model_ptr(model)  # which takes ownership


def save_model(model: Any) -> NDArray[np.uint8]:
    """The binary form of a model, given as the address of an ``mjModel`` or as a shallow copy."""
    content = np.empty(functions().mj_sizeModel(model), dtype=np.uint8)
    functions().mj_saveModel(model, None, content.ctypes.data, len(content))
    return content


def on_fatal_error(handler: Callable[[str], None]) -> None:
    """Have ``handler(message)`` called in the thread in which MuJoCo hits a fatal error.

    Without a handler MuJoCo ends the process. The handler must not return, because MuJoCo would continue in
    an invalid state. Calls through MuJoCo's Python bindings are not affected: they raise an exception.
    """
    global _fatal_error_handler  # MuJoCo keeps only the address; this keeps the function alive

    def decode(message: bytes | None) -> None:
        handler((message or b"").decode(errors="replace"))

    _fatal_error_handler = _MESSAGE_FUNCTION(decode)
    address = ctypes.cast(_fatal_error_handler, ctypes.c_void_p).value
    ctypes.c_void_p.in_dll(functions(), "mju_user_error").value = address


_MESSAGE_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_fatal_error_handler: Any = None
