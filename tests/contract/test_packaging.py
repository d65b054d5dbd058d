"""What users install: built from the source distribution, it holds everything and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # builds and installs the package

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]  # the wheel from the sdist
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def test_the_wheel_installs_only_our_name(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ttrl_env"}


def test_the_wheel_holds_every_module_and_data_file(wheel) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in (("ttrl_env", ""), ("agents", "agents/"), ("kernels", "kernels/")):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yaml", ".typed", ".npz", ".jsonl", ".txt") or (
                "shipped" in file.parts and file.is_file()
            ):
                assert f"ttrl_env/{package}{file.relative_to(ROOT / folder)}" in names


def test_the_wheel_brings_the_command_as_a_script_of_our_own(wheel) -> None:
    """One that an installer writes would import the package before Ctrl-C can be dealt with."""
    with zipfile.ZipFile(wheel) as archive:
        (script,) = (name for name in archive.namelist() if name.endswith(".data/scripts/ttrl"))
        lines = archive.read(script).decode().splitlines()
    assert lines[0] == "#!python"  # the installer writes its own Python's path there
    assert lines[1:] == (ROOT / "agents/ttrl").read_text(encoding="utf-8").splitlines()[1:]


def test_the_wheel_stays_small(wheel) -> None:
    assert wheel.stat().st_size < 25e6


def test_the_installed_package_finds_its_presets_and_its_policy(wheel, tmp_path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import ttrl_env, ttrl_env.kernels\n"
        "from ttrl_env.agents import TrainConfig, load_config, load_policy\n"
        "print(ttrl_env.__file__, load_config(TrainConfig, ['preset=tiny-cpu']).preset)\n"
        "print(type(load_policy('tiny-vla-libero-object')).__name__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = [str(tmp_path / "site" / "ttrl_env" / "__init__.py"), "tiny-cpu", "TinyVLA"]
    assert done.stdout.split() == found, done.stderr
