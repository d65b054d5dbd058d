"""Imports robosuite with workarounds for ``CUDA_VISIBLE_DEVICES`` and for its shared log file.

Published robosuite reads ``CUDA_VISIBLE_DEVICES`` as a list of EGL devices, at import and when it renders.
An empty value, ``-1``, a GPU's UUID or a number without an EGL device is therefore an error. It also writes
a log to ``/tmp/robosuite.log``, which only the first user of a machine may do.

Importing this module is cheap. Call :func:`import_robosuite` before any other import of robosuite or of
LIBERO's environments.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttrl_env.engines import opengl


@functools.cache
def import_robosuite() -> None:
    """Import robosuite, without a log file and with rendering on MuJoCo's device."""
    opengl.require_gl()  # must come before MuJoCo and robosuite are imported
    # silences robosuite's hint about a private macro file, which LIBERO does not need
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    _log_into_no_file()
    with _unset("CUDA_VISIBLE_DEVICES"):
        import robosuite
    robosuite.macros = sys.modules["robosuite.macros"]
    if os.environ.get("MUJOCO_GL") == "egl":
        _render_where_mujoco_renders()


def _log_into_no_file() -> None:
    """Load robosuite's settings first and disable its log file, which robosuite opens at import."""
    robosuite = importlib.util.find_spec("robosuite")
    if robosuite is None or robosuite.origin is None or "robosuite.macros" in sys.modules:
        return
    place = Path(robosuite.origin).with_name("macros.py")
    spec = importlib.util.spec_from_file_location("robosuite.macros", place)
    assert spec is not None
    assert spec.loader is not None
    macros: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(macros)
    macros.FILE_LOGGING_LEVEL = None
    sys.modules["robosuite.macros"] = macros


def _render_where_mujoco_renders() -> None:
    """Make robosuite use MuJoCo's EGL device: ``MUJOCO_EGL_DEVICE_ID``, or else the first that works."""
    from mujoco import egl
    from robosuite.renderers.context import egl_context

    egl_context.create_initialized_egl_device_display = lambda device_id=0: (
        egl.create_initialized_egl_device_display()
    )


@contextlib.contextmanager
def _unset(variable: str) -> Iterator[None]:
    """Remove an environment variable while the context is open."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value
