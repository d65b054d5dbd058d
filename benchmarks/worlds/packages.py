"""Installs other versions of MuJoCo, each in its own folder, which comes first on Python's path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ttrl_env.libero_version import release

KNOWS_NUMPY_2 = (3, 1, 6)
"""A version that renders correctly with NumPy 2. Earlier ones can be imported with it, but writing into their
arrays has no effect, so collision shapes cover objects (docs/findings/old-mujoco-on-new-numpy.md)."""

_IN_TWO_PARTS = (4,)
"""From this version on, the library is a separate distribution, ``mujoco-core``."""


def environment(version: str, folder: Path) -> dict[str, str]:
    """Install a version of MuJoCo in ``folder``; returns environment variables that make Python import it."""
    place = folder / version
    if not (place / "mujoco").exists():  # complete if it exists: pip installs into a draft
        draft = folder / f".{version}"
        packages = [f"mujoco=={version}"]
        packages += [f"mujoco-core=={version}"] if release(version) >= _IN_TWO_PARTS else []
        packages += ["numpy==1.26.4"] if release(version) < KNOWS_NUMPY_2 else []
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(draft)]
        shutil.rmtree(draft, ignore_errors=True)
        subprocess.run([*command, *packages], check=True)
        draft.rename(place)
    path = [str(place.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
