"""``ttrl robotwin``: what is printed, and the exit codes."""

from __future__ import annotations

import json

import pytest

from tests.ttrl_env.robotwin.stand_ins import WHOLE, interpreter
from ttrl_env.agents.cli import main
from ttrl_env.robotwin.assets import ASSETS_VARIABLE, RUNTIME_VARIABLE
from ttrl_env.robotwin.processes import PYTHON_VARIABLE


@pytest.fixture(autouse=True)
def _nothing_set_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path / "cache"))
    for variable in (PYTHON_VARIABLE, ASSETS_VARIABLE, RUNTIME_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def test_setup_makes_an_environment_checks_it_and_says_how_it_is_used(tmp_path, capsys) -> None:
    base = interpreter(tmp_path / "base")
    assert main(["robotwin", "setup", f"python={base}"]) == 1  # no assets
    lines = capsys.readouterr().out.splitlines()
    python = tmp_path / "cache/robotwin/environment/bin/python"
    assert lines[0].startswith(f"making {python.parents[1]} with {base}")
    assert f"    ok  interpreter: Python 3.11.9, {python}" in lines
    assert f"export {PYTHON_VARIABLE}={python}" in lines
    assert lines[-1].startswith(f"export {ASSETS_VARIABLE}=")

    assert main(["robotwin", "setup"]) == 1
    assert f"{python.parents[1]} is there already" in capsys.readouterr().out
    assert main(["robotwin", "check"]) == 1  # found by itself
    assert f"Python 3.11.9, {python}" in capsys.readouterr().out


def test_check_of_a_named_interpreter_or_folder(tmp_path, capsys) -> None:
    python = interpreter(tmp_path / "bin/python", {**WHOLE, "vulkan": {"error": "RuntimeError: none"}})
    for argument in (f"python={python}", f"folder={tmp_path}"):
        assert main(["robotwin", "check", argument]) == 1
        assert "FAILED  Vulkan: no device to draw with (RuntimeError: none)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "action: name one, `ttrl robotwin setup`"),
        (["chekc"], "action: no such name 'chekc'. Did you mean 'check'?"),
        (["check"], "RoboTwin's runtime needs an interpreter of its own"),
        (
            ["check", "tasks=[stack_block_two]"],
            "tasks: no such name 'stack_block_two'. Did you mean 'stack_blocks_two'?",
        ),
        (
            ["setup", "python=/no/such"],
            "python: expected a Python interpreter, got '/no/such', which does not run",
        ),
        (
            ["setup", "/proc"],
            "folder: expected a new folder, or an environment that `ttrl robotwin setup` has made",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_done(arguments, message, capsys) -> None:
    assert main(["robotwin", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_tasks_are_listed_with_what_they_need(capsys, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # into a pipe, where no row is broken
    assert main(["robotwin", "tasks"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 51
    assert listed[46].split() == ["45", "stack_blocks_two", "400", "800", "boxes"]
    assert main(["robotwin", "tasks", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {
        "id": 0,
        "name": "adjust_bottle",
        "horizon": 200,
        "step_limit": 400,
        "objects": ["001_bottle"],
    }
