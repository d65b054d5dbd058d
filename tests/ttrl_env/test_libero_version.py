"""Which LIBERO this is: told by MuJoCo's version, said once, and warned of where worlds mix."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from ttrl_env import libero_version
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.make_engine import make_engine
from ttrl_env.libero_version import (
    PUBLISHED_MUJOCO,
    LiberoVersionWarning,
    describe,
    install_command,
    is_published,
    same_libero,
)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A MuJoCo of another world is installed, and nobody has been warned yet."""
    monkeypatch.setattr(libero_version, "installed_mujoco", lambda: "3.17.0")
    libero_version.warn_unless_published.cache_clear()
    yield
    libero_version.warn_unless_published.cache_clear()


def test_the_published_world_ends_with_its_version() -> None:
    assert [is_published(version) for version in ("2.3.7", "3.2.3", "3.3.2")] == [True] * 3
    assert [is_published(version) for version in ("3.3.3", "3.4.0", "3.17.0", "4.0.0")] == [False] * 4
    assert same_libero("3.2.3", "3.3.2")
    assert same_libero("3.17.0", "3.17.0")
    assert not same_libero("3.17.0", "4.0.0")
    assert not same_libero("3.3.2", "3.17.0")
    with pytest.raises(ValueError, match=r"mujoco: expected a version such as '3.3.2', got 'newest'"):
        is_published("newest")


def test_a_world_is_named() -> None:
    assert describe("3.3.2") == "published LIBERO (MuJoCo 3.3.2)"
    assert describe("3.17.0") == "MuJoCo 3.17.0, which is not published LIBERO (that is MuJoCo 3.3.2)"


@pytest.mark.usefixtures("newer")
def test_an_install_across_the_split_distribution_takes_the_old_one_away_first(monkeypatch) -> None:
    assert install_command() == f"pip install mujoco=={PUBLISHED_MUJOCO}"
    away = "pip uninstall -y mujoco mujoco-core mujoco-studio && pip install mujoco"
    assert install_command("4.0.0") == f"{away}==4.0.0"
    monkeypatch.setattr(libero_version, "installed_mujoco", lambda: "4.0.0")
    assert install_command() == f"{away}=={PUBLISHED_MUJOCO}"


@pytest.mark.usefixtures("newer")
def test_opening_an_environment_in_another_world_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttrl_env.libero_tasks.require_libero", _stop)
    config = EngineConfig(suite="libero_object", num_rows=1)
    with pytest.warns(
        LiberoVersionWarning, match=rf"3.17.0. .*do not hold here .* pip install mujoco=={PUBLISHED_MUJOCO}"
    ):
        _open(config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _open(config)


def test_the_published_world_does_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libero_version, "installed_mujoco", lambda: PUBLISHED_MUJOCO)
    libero_version.warn_unless_published.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        libero_version.warn_unless_published()
        libero_version.warn_of_another_version("a file", PUBLISHED_MUJOCO)
        libero_version.warn_of_another_version("a file of others", None)


@pytest.mark.usefixtures("newer")
def test_what_comes_from_another_world_is_named_with_both_versions() -> None:
    with pytest.warns(
        LiberoVersionWarning, match=r"a file is of MuJoCo 3.3.2, and MuJoCo 3.17.0 is installed"
    ):
        libero_version.warn_of_another_version("a file", "3.3.2")


def test_the_world_is_known_without_importing_mujoco() -> None:
    code = "import sys, ttrl_env.libero_version as w; print(w.installed_mujoco(), 'mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [libero_version.installed_mujoco(), "False"]


class _Stopped(Exception):
    pass


def _stop() -> None:
    raise _Stopped


def _open(config: EngineConfig) -> None:
    """Make an engine as far as the warning."""
    with pytest.raises(_Stopped):
        make_engine("native", config)
