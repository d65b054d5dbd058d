"""The Dockerfile: what it copies and installs, as far as files say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ttrl_env.engines.opengl import APT_LINE

ROOT = Path(__file__).parents[2]


def _instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def _project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 does not read TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_it_installs_the_libraries_that_rendering_needs() -> None:
    (command,) = (rest for name, rest in _instructions() if "apt-get install" in rest)
    assert set(APT_LINE.split()[3:]) <= set(command.split())


def test_what_it_copies_exists_reaches_the_build_and_is_all_that_the_package_needs() -> None:
    copied = {word for name, rest in _instructions() if name == "COPY" for word in rest.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    project = _project()
    needed = {*project["tool"]["setuptools"]["package-dir"].values(), project["project"]["readme"]}
    assert {*needed, *project["project"]["license-files"], "pyproject.toml"} == copied


def test_the_extras_it_installs_exist() -> None:
    (extras,) = re.findall(r"'\.\[(.*?)\]'", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set(extras.split(",")) <= _project()["project"]["optional-dependencies"].keys()


def test_it_ends_as_an_ordinary_user_with_the_check_of_the_machine() -> None:
    names = [name for name, _ in _instructions()]
    arguments = dict(_instructions())
    assert arguments["USER"] == "ttrl"
    assert (arguments["ENTRYPOINT"], arguments["CMD"]) == ('["ttrl"]', '["doctor"]')
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "ttrl doctor" in next(rest for name, rest in reversed(_instructions()) if name == "RUN")
