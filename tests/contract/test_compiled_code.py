"""What numba compiles is kept for the next process: as long as no source changes, and where it can be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # compiles in processes of their own

FILES = {
    "control_step.py": "from pack.goals import add\n\n@njit()\ndef run(x):\n    return add(x)\n",
    "goals.py": "@njit()\ndef add(x):\n    return x + 1\n",
}
"""A function that calls one of another file, which is what an update may change alone."""


@pytest.fixture(params=["kernels", "ttrl_env/engines"])
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A package of two compiled functions by the decorator of the kernels or the engine."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(Path(__file__).parents[2] / request.param / "compiled.py", package)
    for name, text in FILES.items():
        imported = "from pack.compiled import njit\n"
        (package / name).write_text(imported + text)
    return package


def run(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    left_out = ("TTRL_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    path = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", "from pack.control_step import run; print(run(1))"],
        env={
            **inherited,
            "PYTHONPATH": path,
            **environment,
        },
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_code_compiled_from_a_file_that_has_changed_is_not_run_again(package: Path) -> None:
    assert run(package).stdout == "2\n"
    assert len(list(package.rglob("*.nbc"))) == 2
    goals = package / "goals.py"
    goals.write_text(goals.read_text().replace("x + 1", "x + 10"))
    assert run(package).stdout == "11\n"


def test_without_a_folder_to_write_to_every_process_compiles_and_says_so(package: Path) -> None:
    (package / "__pycache__").touch()  # root may write to any folder, but not into a file
    done = run(package, HOME="/dev/null")
    assert done.stdout == "2\n", done.stderr
    assert "no folder for compiled code can be written" in done.stderr
    assert "TTRL_CACHE" in done.stderr


def test_compiled_code_goes_where_the_cache_is(package: Path, tmp_path: Path) -> None:
    done = run(package, TTRL_CACHE=str(tmp_path / "cache"))
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert len(list((tmp_path / "cache" / "compiled").rglob("*.nbc"))) == 2
    assert not list(package.rglob("*.nbc"))
