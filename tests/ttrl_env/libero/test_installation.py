"""install() and uninstall(): who gets which classes."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator

import pytest

import ttrl_env.libero

pytestmark = pytest.mark.libero

NAMES = ("OffScreenRenderEnv", "SubprocVectorEnv", "DummyVectorEnv")


@pytest.fixture
def installed() -> Iterator[None]:
    ttrl_env.libero.install()
    yield
    ttrl_env.libero.uninstall()


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, ttrl_env.libero\n"
        "print(*[name for name in ('libero', 'mujoco', 'robosuite', 'torch') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


@pytest.mark.usefixtures("installed")
def test_libero_s_modules_give_our_classes() -> None:
    from libero.libero import envs
    from libero.libero.envs import env_wrapper, venv

    for name in NAMES:
        home = env_wrapper if name == "OffScreenRenderEnv" else venv
        assert getattr(envs, name) is getattr(home, name) is getattr(ttrl_env.libero, name)
    assert env_wrapper.ControlEnv is ttrl_env.libero.ControlEnv


@pytest.mark.usefixtures("installed")
def test_libero_s_other_classes_keep_their_base() -> None:
    from libero.libero.envs import SegmentationRenderEnv

    from ttrl_env.libero import upstream

    assert SegmentationRenderEnv.__mro__[1] is upstream.OffScreenRenderEnv


@pytest.mark.usefixtures("installed")
def test_the_engine_that_compiles_tasks_keeps_libero_s_own_class() -> None:
    from ttrl_env.engines.libero import environment
    from ttrl_env.libero import upstream

    assert vars(environment)["ControlEnv"] is upstream.ControlEnv


def test_uninstalling_gives_libero_s_classes_back() -> None:
    from libero.libero import envs

    from ttrl_env.libero import upstream

    ttrl_env.libero.install()
    ttrl_env.libero.install()  # once more is no more
    ttrl_env.libero.uninstall()
    for name in NAMES:
        assert getattr(envs, name) is getattr(upstream, name)
    ttrl_env.libero.uninstall()


def test_a_module_that_imported_libero_s_class_before_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero import upstream

    early = types.ModuleType("evaluation_that_came_early")
    early.Environment = upstream.OffScreenRenderEnv  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, early.__name__, early)
    try:
        with pytest.warns(UserWarning, match="evaluation_that_came_early"):
            ttrl_env.libero.install()
    finally:
        ttrl_env.libero.uninstall()


def test_the_classes_derive_from_libero_s() -> None:
    from ttrl_env.libero import upstream

    for name in (*NAMES, "ControlEnv"):
        assert issubclass(getattr(ttrl_env.libero, name), getattr(upstream, name))
