"""Images drawn by the GPU: how many a second, and how far their pixels are from those of software OpenGL."""

from __future__ import annotations

import ctypes.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.draw import NOT_POSSIBLE
from benchmarks.gpu.figures import Figures, NotPossibleError, Setting
from benchmarks.gpu.process import ROOT
from benchmarks.gpu.simulation import is_software

MEAN_TOLERANCE = 3.0
"""Largest mean difference of a colour value, of 255."""
FAR = 32
FAR_TOLERANCE = 2.0
"""Largest share of colour values that differ by more than ``FAR``, in percent: edges, where samples differ.
Both tolerances were stated before any GPU has drawn."""

_MESA = Path("/usr/share/glvnd/egl_vendor.d/50_mesa.json")


def measure(figures: Figures, setting: Setting) -> None:
    """Draw in two processes, with the OpenGL as found and with software's; compare.

    Raises:
        NotPossibleError: no OpenGL, no task, or EGL draws in software; a dry run goes on.
        SystemExit: pixels differ by more than the tolerance.
    """
    found = _draw(setting, {})
    figures.detail("renderer", name := str(found["renderer"]))
    if is_software(name) and not setting.dry_run:
        raise NotPossibleError(f"EGL draws in software here: {name}")
    seconds = float(found["seconds"])
    figures.add("images, one thread", 1 / seconds, "images/s", f"{1e3 * seconds:.3g} ms an image, {name}")
    try:
        software = _draw(setting, software_environment())
    except NotPossibleError as reason:
        figures.detail("software", str(reason))
        return
    if not is_software(str(software["renderer"])):
        figures.detail("software", f"no software OpenGL to compare with: got {software['renderer']}")
        return
    ratio = float(software["seconds"]) / seconds
    figures.add("against software OpenGL in one thread", ratio, "x", str(software["renderer"]))
    _compare(figures, found["images"], software["images"])


def software_environment() -> dict[str, str]:
    """Variables with which a process draws on the CPU: Mesa's EGL, or OSMesa where there is no such file."""
    if _MESA.is_file():
        return {"__EGL_VENDOR_LIBRARY_FILENAMES": str(_MESA), "LIBGL_ALWAYS_SOFTWARE": "1"}
    if ctypes.util.find_library("OSMesa"):
        return {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"}
    return {"LIBGL_ALWAYS_SOFTWARE": "1"}


def _draw(setting: Setting, variables: dict[str, str]) -> dict[str, NDArray[Any]]:
    environment = {**os.environ, **variables}
    if variables:
        environment.pop("MUJOCO_EGL_DEVICE_ID", None)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "images.npz")
        fields = json.dumps({**asdict(setting), "results": str(setting.results)})
        command = [sys.executable, "-m", "benchmarks.gpu.draw", str(output), fields]
        answer = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if answer.returncode == NOT_POSSIBLE:
            raise NotPossibleError(answer.stdout.strip())
        answer.check_returncode()
        with np.load(output) as content:
            return dict(content)


def _compare(figures: Figures, ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
    difference = np.abs(ours.astype(np.int16) - theirs)
    mean, far = float(difference.mean()), 100 * float((difference > FAR).mean())
    figures.add("mean difference from software OpenGL", mean, "of 255", f"tolerance {MEAN_TOLERANCE}")
    figures.add(f"values that differ by more than {FAR}", far, "%", f"tolerance {FAR_TOLERANCE}")
    if mean > MEAN_TOLERANCE or far > FAR_TOLERANCE:
        raise SystemExit(
            f"pixels differ from software OpenGL's: mean {mean:.2f} of 255 (tolerance {MEAN_TOLERANCE}), "
            f"{far:.2f} % by more than {FAR} (tolerance {FAR_TOLERANCE} %)"
        )
