"""Which OpenGL MuJoCo renders with, decided before MuJoCo is imported.

MuJoCo and robosuite read ``MUJOCO_GL`` once, at import. Unless the user has set it, off-screen
EGL is chosen: it runs on a GPU without a display and, through Mesa, on a CPU.
"""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
import os
import sys
from pathlib import Path

from ttrl_env.errors import MissingDependencyError

APT_LINE = "apt-get install -y libegl1 libgl1 libopengl0 libgl1-mesa-dri"
APT_LINE_OSMESA = "apt-get install -y libosmesa6"

_LIBRARIES = {"egl": ("EGL", "GL"), "osmesa": ("OSMesa",)}


def choose_backend() -> str:
    """Set ``MUJOCO_GL=egl`` on Linux unless it is set already; return the backend in force."""
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        if os.environ["MUJOCO_GL"] in _LIBRARIES:
            os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
    return os.environ.get("MUJOCO_GL", "")


def missing_libraries() -> tuple[str, ...]:
    """Names of the shared libraries that the backend in force needs and that cannot be found."""
    needed = _LIBRARIES.get(choose_backend(), ())
    return tuple(name for name in needed if ctypes.util.find_library(name) is None)


def require_gl() -> None:
    """Raise :class:`MissingDependencyError` with the exact install line unless rendering can work."""
    missing = missing_libraries()
    if missing:
        backend = os.environ["MUJOCO_GL"]
        line = APT_LINE_OSMESA if backend == "osmesa" else APT_LINE
        raise MissingDependencyError(
            f"MUJOCO_GL={backend} needs the shared libraries {', '.join('lib' + name for name in missing)}, "
            f"which are not installed. On Debian or Ubuntu: {line}"
        )


@functools.cache
def load_triton_first() -> None:
    """Load Triton's library, if it is installed; to be called before the first OpenGL context is made.

    Both Triton and Mesa bring an LLVM, and some of LLVM's symbols are unique to a process, whoever comes
    first. Mesa works with Triton's; Triton, which torch imports when it likes, crashes with Mesa's. Where
    somebody else has already drawn through Mesa it is too late, and nothing is loaded.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and any(name in maps.read_text() for name in ("libgallium", "libLLVM", "swrast_dri")):
        return
    triton = importlib.util.find_spec("triton")
    for folder in (triton.submodule_search_locations or ()) if triton else ():
        for library in Path(folder).glob("_C/libtriton*.so"):
            ctypes.CDLL(str(library))


if __name__ == "__main__":  # `make demo` and `make test` ask before they start
    try:
        require_gl()
    except MissingDependencyError as error:
        sys.exit(str(error))
