"""The arrows between the folders: ttrl_env stands alone, kernels stand alone, agents use both."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "ttrl_env": (
        "torch",
        "triton",
        "transformers",
        "ttrl_env.kernels",
        "ttrl_env.agents",
        "kernels",
        "agents",
    ),
    "kernels": ("ttrl_env.tasks", "ttrl_env.vector_env", "ttrl_env.agents", "gymnasium", "mujoco", "agents"),
}


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; name the package"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_folder_imports_nothing_it_must_not(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        for name in _imports(file):
            for forbidden in FORBIDDEN[folder]:
                assert not f"{name}.".startswith(f"{forbidden}."), f"{file} imports {name}"


def test_importing_the_package_loads_no_simulator_and_no_torch() -> None:
    heavy = ("mujoco", "robosuite", "libero", "torch", "triton", "numba", "transformers", "stable_baselines3")
    code = f"import sys, ttrl_env; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_environments_need_no_torch() -> None:
    code = (
        "import sys, ttrl_env.vector_env, ttrl_env.single_env, ttrl_env.wrapper, ttrl_env.upstream\n"
        "print([name for name in ('torch', 'mujoco', 'robosuite') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
