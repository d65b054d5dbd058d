"""`ttrl robotwin setup` makes an environment whole or not at all. Stand-ins are in place of Python, pip."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.ttrl_env.robotwin.stand_ins import interpreter
from ttrl_env.errors import (
    ConfigError,
    InstallationError,
    MissingDependencyError,
    UnsupportedVersionError,
)
from ttrl_env.robotwin import installation
from ttrl_env.robotwin.installation import find_base_python, find_environment, install, is_current, python_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "robotwin"


def _install(folder: Path, progress=lambda done, total: None, **stand_in) -> None:
    install(folder, str(interpreter(folder.parent / "base", **stand_in)), progress)


def test_an_environment_is_made_whole_and_its_scripts_name_its_folder(folder) -> None:
    told: list[tuple[int, int]] = []
    _install(folder, lambda done, total: told.append((done, total)))
    total = told[-1][1]
    assert told == [(0, total), (1, total), (total, total)]
    assert is_current(folder)
    assert python_of(folder).is_file()
    assert (folder / "bin/pip").read_text() == f"#!{folder}/bin/python\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".robotwin.lock", "base", "robotwin"]


def test_the_last_good_environment_stays_when_pip_fails(folder) -> None:
    _install(folder)
    (folder / "old").touch()
    with pytest.raises(InstallationError, match=r"(?s)pip install .*failed \(7\):\n.*the end"):
        _install(folder, pip=7)
    assert (folder / "old").exists()
    assert is_current(folder)
    _install(folder)
    assert not (folder / "old").exists()


def test_an_interrupted_setup_begins_anew(folder) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _install(folder, interrupt)
    assert not folder.exists()
    draft = folder.with_name(".robotwin.draft")
    assert not draft.exists()
    draft.mkdir()  # as a process leaves it that is killed
    (draft / "half").touch()
    _install(folder)
    assert not (folder / "half").exists()


def test_an_environment_is_put_back_if_its_replacement_was_interrupted(folder) -> None:
    _install(folder)
    folder.rename(folder.with_name(".robotwin.former"))
    with pytest.raises(InstallationError):
        _install(folder, pip=1)
    assert is_current(folder)


def test_other_requirements_make_an_environment_outdated(folder, tmp_path, monkeypatch) -> None:
    _install(folder)
    other = tmp_path / "requirements.txt"
    other.write_text("numpy==1.26.3\n")
    monkeypatch.setattr(installation, "REQUIREMENTS", other)
    assert not is_current(folder)
    assert not is_current(tmp_path / "nothing")


def test_a_folder_of_somebody_elses_is_left_alone(folder) -> None:
    folder.mkdir()
    _install(folder)  # an empty one is taken
    other = folder.with_name("thesis")
    other.mkdir()
    (other / "chapter.tex").touch()
    with pytest.raises(ConfigError, match=r"folder: expected a new folder, or an environment .*thesis"):
        _install(other)
    assert (other / "chapter.tex").exists()


def test_a_python_without_venv_is_told_how_to_get_it(folder) -> None:
    with pytest.raises(InstallationError, match=r"(?s)failed \(1\).*python3.11-venv.*python=PATH"):
        install(folder, "/bin/false", lambda done, total: None)


def test_the_named_python_must_run_and_be_of_a_supported_version(tmp_path) -> None:
    good = str(interpreter(tmp_path / "good"))
    assert find_base_python(good) == good
    with pytest.raises(MissingDependencyError, match=r"python: .*got 'no-such-python', which does not run"):
        find_base_python("no-such-python")
    with pytest.raises(MissingDependencyError, match=r"python: .*got '/bin/false', which does not run"):
        find_base_python("/bin/false")
    new = interpreter(tmp_path / "new", version="3.13")
    with pytest.raises(UnsupportedVersionError, match=r"needs Python 3.10 or 3.11, .*new is 3.13"):
        find_base_python(str(new))


def test_a_python_is_looked_for_here_and_on_the_path(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "this", version="3.12")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingDependencyError, match=r"needs Python 3.10 or 3.11, and neither is on the PATH"
    ):
        find_base_python()
    (tmp_path / "python3.11").symlink_to("/bin/false")  # as pyenv's, of a version that is not chosen
    older = interpreter(tmp_path / "python3.10", version="3.10")
    assert find_base_python() == str(older)
    monkeypatch.setattr(sys, "executable", str(interpreter(tmp_path / "this", version="3.11")))
    assert find_base_python() == sys.executable


def test_the_environment_of_the_cache_folder_is_found_when_it_is_finished(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    assert find_environment() is None
    _install(tmp_path / "robotwin" / "environment")
    assert find_environment() == str(tmp_path / "robotwin" / "environment" / "bin" / "python")


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_every_package_has_one_pinned_version(python) -> None:
    names = []
    for line in installation.requirements():
        package, _, condition = line.partition("; ")
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.+]*", package), line
        assert condition in ("", 'python_version < "3.11"', 'python_version >= "3.11"')
        if not condition or ("<" in condition) == (python == "3.10"):
            names.append(package.partition("==")[0])
    assert len(names) == len(set(names)) > 40
