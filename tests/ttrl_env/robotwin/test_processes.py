"""The interpreter of RoboTwin's workers: which one, and what is said of one that will not do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ttrl_env.robotwin.fake_engine import FAKE, fake_engine
from ttrl_env.errors import EnvironmentDiedError, MissingDependencyError, UnsupportedVersionError
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.processes import PYTHON_VARIABLE, RUNTIME, check_python, find_python


def test_the_setting_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, "/bin/true")
    assert find_python(sys.executable) == sys.executable
    assert find_python(None) == "/bin/true"


@pytest.mark.parametrize(
    ("python", "variable", "message"),
    [
        (None, None, r"python: RoboTwin's runtime needs an interpreter of its own.*`ttrl robotwin setup`"),
        (None, "/no/such", rf"{PYTHON_VARIABLE}: expected the path .* got '/no/such'.*`ttrl robotwin setup`"),
        ("/no/such", "/bin/true", r"^python: expected the path of a Python interpreter, got '/no/such'"),
        ("/tmp", None, r"^python: expected the path of a Python interpreter, got '/tmp'"),
    ],
)
def test_an_interpreter_that_is_not_there_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, python: str | None, variable: str | None, message: str
) -> None:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    if variable:
        monkeypatch.setenv(PYTHON_VARIABLE, variable)
    with pytest.raises(MissingDependencyError, match=message):
        RoboTwinEngine(RoboTwinConfig(num_rows=1, python=python))


def test_versions_are_read() -> None:
    versions = check_python(sys.executable, FAKE)
    assert list(versions) == ["python", "numpy"]
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_wrong_python_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match=r"RoboTwin's runtime needs 3\.8 or 3\.9\. `ttrl rob"):
        check_python(sys.executable, replace(FAKE, pythons=("3.8", "3.9")))


def test_missing_distributions_are_named() -> None:
    played = replace(FAKE, distributions=("numpy", *RUNTIME.distributions[:1], "no-such-thing"))
    with pytest.raises(MissingDependencyError, match=r"has no rlinf-robotwin-runtime, no-such-thing\. `ttrl"):
        check_python(sys.executable, played)


def test_what_is_no_python_is_told_with_its_words(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'wrong architecture' >&2\nexit 2\n")
    script.chmod(0o755)
    with pytest.raises(MissingDependencyError, match="does not run as a Python interpreter: wrong arch"):
        check_python(str(script), FAKE)


def test_a_factory_that_cannot_be_imported_is_an_error_of_the_first_reset() -> None:
    config = RoboTwinConfig(num_rows=1, python=sys.executable)
    engine = RoboTwinEngine(config, played=replace(FAKE, factory="no_such_module:Simulation"))
    with pytest.raises(EnvironmentDiedError, match=r"(?s)resetting row 0: .*No module named 'no_such"):
        engine.reset([0], [45], [0])
    engine.close()


def test_workers_see_neither_the_working_directory_nor_the_folder_above_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "threading", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = fake_engine(RoboTwinConfig(num_rows=1, image_height=4, image_width=4))
    engine.reset([0], [45], [0])
    engine.close()


def test_there_are_no_more_workers_than_rows_or_asked_for() -> None:
    for num_rows, num_workers, expected in ((2, 5, 2), (3, 2, 2), (1, None, 1)):
        engine = fake_engine(RoboTwinConfig(num_rows=num_rows, num_workers=num_workers))
        assert len(engine._workers.pids) == expected
        engine.close()
