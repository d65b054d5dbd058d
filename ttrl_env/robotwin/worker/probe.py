"""What the other interpreter has, as one line of JSON: versions, the runtime, the Vulkan device.

It is a script of its own, started as ``python -I probe.py``, or ``python -I probe.py vulkan`` for the device
alone. It imports nothing before it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import sys
import types
from typing import Any

DISTRIBUTIONS = ("rlinf-robotwin-runtime", "sapien", "mplib", "numpy", "torch")
"""Distributions that a worker needs; the runtime first."""

TASK = "stack_blocks_two"
"""A task of the runtime: importing it imports everything that any task needs."""


def main() -> None:
    """Print what there is. Whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    found = {"vulkan": vulkan()} if "vulkan" in sys.argv[1:] else everything()
    print(json.dumps(found), file=answers, flush=True)


def everything() -> dict[str, Any]:
    """What is installed, whether it can be imported, and what draws."""
    found: dict[str, Any] = {"python": platform.python_version(), "versions": versions()}
    if found["versions"]["rlinf-robotwin-runtime"]:
        found["import_error"] = import_error()
    return {**found, "vulkan": vulkan()}


def versions() -> dict[str, str | None]:
    """Version of every distribution; ``None``: not installed."""
    found: dict[str, str | None] = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def import_error() -> str | None:
    """Why the runtime cannot be imported; ``None``: it can. Open3D may be missing, see ``runtime.py``."""
    if importlib.util.find_spec("open3d") is None:
        sys.modules["open3d"] = types.ModuleType("open3d")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            importlib.import_module(f"robotwin.envs.{TASK}")
        except Exception as error:  # noqa: BLE001 - any: the caller reports it
            return f"{type(error).__name__}: {error}"
    return None


def vulkan() -> dict[str, str]:
    """The name of the device that SAPIEN draws with, or why there is none."""
    try:
        import sapien

        # a scene would do, but one that finds no device ends the process when it is freed
        return {"device": sapien.render.RenderSystem().device.name}
    except Exception as error:  # noqa: BLE001 - Vulkan's errors have types of their own
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
    os._exit(0)  # a renderer may raise when the interpreter tears it down
