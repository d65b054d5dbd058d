"""Chooses MuJoCo's OpenGL backend, before MuJoCo is imported.

MuJoCo and robosuite read ``MUJOCO_GL`` once, at import. Unless the user has set it, off-screen
EGL is chosen: it runs on a GPU without a display and, through Mesa, on a CPU.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ttrl_env.errors import ConfigError, MissingDependencyError, TTRLError, unknown_name

APT_LINE = "apt-get install -y libegl1 libgl1 libopengl0 libgl1-mesa-dri"
APT_LINE_OSMESA = "apt-get install -y libosmesa6"

_LIBRARIES = {"egl": ("EGL", "GL"), "osmesa": ("OSMesa",)}


def choose_backend() -> str:
    """Set ``MUJOCO_GL=egl`` on Linux unless it is set and not empty; return the backend in force.

    MuJoCo accepts any case and surrounding spaces, but other libraries do not: the value is normalised.
    """
    if sys.platform.startswith("linux"):
        os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "").strip().lower() or "egl"
        if os.environ["MUJOCO_GL"] in _LIBRARIES:
            os.environ["PYOPENGL_PLATFORM"] = os.environ.get("PYOPENGL_PLATFORM") or os.environ["MUJOCO_GL"]
    return os.environ.get("MUJOCO_GL", "")


def missing_libraries() -> tuple[str, ...]:
    """Names of the shared libraries that the backend in force needs and that cannot be found."""
    needed = _LIBRARIES.get(choose_backend(), ())
    return tuple(name for name in needed if ctypes.util.find_library(name) is None)


def require_gl() -> None:
    """Raise unless rendering can work. The message has the exact install line.

    Call it before MuJoCo is imported, because that fails with an ``AttributeError`` if a library is missing.

    Raises:
        ConfigError: ``MUJOCO_GL`` draws into windows, or another variable contradicts it.
        UnknownNameError: ``MUJOCO_GL`` is no backend.
        MissingDependencyError: a shared library is not installed.
    """
    backend = choose_backend()
    if sys.platform.startswith("linux"):
        _check_off_screen(backend)
    missing = missing_libraries()
    if missing:
        raise MissingDependencyError(
            f"MUJOCO_GL={backend} needs the shared libraries "
            f"{', '.join('lib' + name for name in missing)}, which are not installed. {_install_line()}"
        )
    _check_companions(backend)


@contextlib.contextmanager
def explaining_failures() -> Iterator[None]:
    """Context that turns a failure to make an OpenGL context into an error with an install command."""
    try:
        yield
    except ImportError as error:  # as MuJoCo and robosuite report it
        raise MissingDependencyError(
            f"MUJOCO_GL={choose_backend()}: no OpenGL context can be made ({error}). {_install_line()}"
        ) from error
    except RuntimeError as error:  # MuJoCo's, if EGL has no device of that number
        if "MUJOCO_EGL_DEVICE_ID" not in str(error):
            raise
        raise ConfigError(
            f"MUJOCO_EGL_DEVICE_ID: {error} Unset it to render on the first that works"
        ) from error


def _install_line() -> str:
    return f"On Debian or Ubuntu: {APT_LINE_OSMESA if choose_backend() == 'osmesa' else APT_LINE}"


def _check_off_screen(backend: str) -> None:
    """Raise unless the backend renders off-screen, in any thread."""
    if backend in _LIBRARIES:
        return
    choices = (
        f"Unset it, which chooses egl, or set MUJOCO_GL=egl (on a GPU or, through Mesa, a CPU: {APT_LINE}) "
        f"or MUJOCO_GL=osmesa ({APT_LINE_OSMESA})."
    )
    if backend in ("glfw", "glx"):
        raise ConfigError(
            f"MUJOCO_GL={backend} draws into a window, for which it needs a display and the main thread; "
            f"here threads render off-screen. {choices}"
        )
    raise unknown_name("MUJOCO_GL", backend, _LIBRARIES, choices)


def _check_companions(backend: str) -> None:
    """Raise :class:`ConfigError` if PyOpenGL's or EGL's environment variables contradict the backend."""
    platform = os.environ.get("PYOPENGL_PLATFORM", backend)
    if backend in _LIBRARIES and platform.lower() != backend:
        raise ConfigError(
            f"PYOPENGL_PLATFORM: expected {backend!r}, as MUJOCO_GL is, or nothing, got {platform!r}"
        )
    device = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    if backend == "egl" and device is not None and not device.isdecimal():
        raise ConfigError(
            f"MUJOCO_EGL_DEVICE_ID: expected the number of one of EGL's devices, from 0, got {device!r}; "
            f"unset it to render on the first that works"
        )


@functools.cache
def load_triton_first() -> None:
    """Load Triton's library, if it is installed. Call this before the first OpenGL context is made.

    Triton and Mesa each contain an LLVM, and a process uses some of LLVM's symbols from the one loaded first.
    Mesa works with Triton's; Triton, which torch may import later, crashes with Mesa's. If Mesa's is loaded
    already, this does nothing.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and any(name in maps.read_text() for name in ("libgallium", "libLLVM", "swrast_dri")):
        return
    triton = importlib.util.find_spec("triton")
    for folder in (triton.submodule_search_locations or ()) if triton else ():
        for library in Path(folder).glob("_C/libtriton*.so"):
            ctypes.CDLL(str(library))


if __name__ == "__main__":  # `make demo` and `make test` run this check first
    try:
        require_gl()
    except TTRLError as error:
        sys.exit(str(error))
