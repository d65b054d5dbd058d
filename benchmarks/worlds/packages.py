"""Other versions of MuJoCo beside the installed one: each in a folder of its own, in front of the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ttrl_env.libero_version import release

KNOWS_NUMPY_2 = (3, 1, 6)
"""A version that draws rightly with NumPy 2. Earlier ones import with it, and collision shapes cover the
objects, because writing into their arrays misses (docs/findings/old-mujoco-on-new-numpy.md)."""

_IN_TWO_PARTS = (4,)
"""From this version on, the library is in a distribution of its own, ``mujoco-core``."""


def environment(version: str, folder: Path) -> dict[str, str]:
    """Variables under which Python imports a version of MuJoCo; it is installed in ``folder`` first."""
    place = folder / version
    if not (place / "mujoco").exists():  # appears whole: pip fills a draft
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
