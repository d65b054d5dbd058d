"""Imports robosuite so that it works for every user of a machine and whatever GPUs are hidden.

Published robosuite reads ``CUDA_VISIBLE_DEVICES``, at import and again when it renders, as if it were a list
of EGL's devices: an empty one, ``-1``, a GPU's UUID or a number beyond them is an error. It also keeps a log
in ``/tmp/robosuite.log``, which only the first user of a machine may write.

Light to import; :func:`import_robosuite` comes before anything else of robosuite or LIBERO's environments.
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
    """Import robosuite; it then renders on the device that MuJoCo renders on, and logs into no file."""
    opengl.require_gl()  # must come before MuJoCo and robosuite are imported
    # robosuite recommends a private macro file at import; LIBERO needs none
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    _log_into_no_file()
    with _unset("CUDA_VISIBLE_DEVICES"):
        import robosuite
    robosuite.macros = sys.modules["robosuite.macros"]
    if os.environ.get("MUJOCO_GL") == "egl":
        _render_where_mujoco_renders()


def _log_into_no_file() -> None:
    """Load robosuite's settings before robosuite, which opens its log as soon as it is imported."""
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
    """Have robosuite take MuJoCo's EGL device: ``MUJOCO_EGL_DEVICE_ID``, else the first that works."""
    from mujoco import egl  # type: ignore[import-untyped]
    from robosuite.renderers.context import egl_context

    egl_context.create_initialized_egl_device_display = lambda device_id=0: (
        egl.create_initialized_egl_device_display()
    )


@contextlib.contextmanager
def _unset(variable: str) -> Iterator[None]:
    """Take a variable out of the environment for a while."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value
