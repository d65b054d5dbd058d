"""Surroundings that OpenGL may or may not work in: hidden GPUs, missing libraries, odd variables."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from ttrl_env.engines import opengl
from ttrl_env.engines.interface import EngineName
from ttrl_env.errors import ConfigError, MissingDependencyError, UnknownNameError
from ttrl_env.vector_env import TTRLVectorEnv

MAKE_CONTEXTS = """
import logging, os, sys
logging.FileHandler = None  # robosuite's log, which only the first user of a machine may write
from ttrl_env.engines.libero.robosuite_import import import_robosuite
import_robosuite()
assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8f6ab2c0-1234"
from robosuite.renderers.context import egl_context
for hidden in sys.argv[1:]:
    os.environ["CUDA_VISIBLE_DEVICES"] = hidden
    egl_context.EGL_DISPLAY = None
    egl_context.EGLGLContext(64, 64)
print("made", flush=True)
os._exit(0)
"""


@pytest.mark.libero
def test_robosuite_draws_whatever_gpus_are_hidden_and_logs_into_no_file() -> None:
    environment = {
        **os.environ,
        "MUJOCO_GL": "egl",
        "MUJOCO_EGL_DEVICE_ID": "0",
        "CUDA_VISIBLE_DEVICES": "GPU-8f6ab2c0-1234",
    }
    hidden = ["", "-1", "GPU-8f6ab2c0-1234", "3", "MIG-5,MIG-6", "NoDevFiles", "0"]
    done = subprocess.run(
        [sys.executable, "-c", MAKE_CONTEXTS, *hidden],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "made\n", done.stderr


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no OpenGL library is found."""
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)


@pytest.mark.usefixtures("without_libraries")
@pytest.mark.parametrize("engine", ["native", "upstream"])
def test_missing_libraries_are_named_with_the_line_that_installs_them(engine: EngineName) -> None:
    for make in (
        lambda: gym.make("ttrl_env/LiberoSpatial-v0", engine=engine),
        lambda: gym.make_vec("ttrl_env/LiberoSpatial-v0", num_envs=2, engine=engine),
        lambda: TTRLVectorEnv("libero_spatial", engine=engine),
    ):
        with pytest.raises(MissingDependencyError, match=r"lib(EGL|OSMesa).*not installed.*apt-get install"):
            make()


def test_where_mujoco_cannot_be_imported_commands_that_need_it_end_with_the_advice(tmp_path: Path) -> None:
    commands = [["record", "libero_spatial"], ["doctor", "world=[libero_spatial]"], ["cache"]]
    code = (
        "import ctypes.util, sys\n"
        "ctypes.util.find_library = lambda name: None\n"
        "sys.modules['mujoco'] = None\n"  # importing it would end in an AttributeError
        "from ttrl_env.agents.cli import main\n"
        f"print([main(command) for command in {commands!r}])"
    )
    environment = {**os.environ, "TTRL_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[2, 1, 0]\n"), done.stdout
    assert (done.stdout + done.stderr).count("apt-get install") == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "backend"), [("", "egl"), (" ", "egl"), ("EGL ", "egl"), ("osmesa", "osmesa")]
)
def test_an_empty_choice_of_opengl_is_none(monkeypatch: pytest.MonkeyPatch, given: str, backend: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", given)
    monkeypatch.setenv("PYOPENGL_PLATFORM", "")
    assert opengl.choose_backend() == os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == backend


@pytest.mark.parametrize(
    ("variable", "value", "error", "message"),
    [
        ("MUJOCO_GL", "elg", UnknownNameError, "MUJOCO_GL: no such name 'elg'.*Did you mean 'egl'.*apt-get"),
        ("MUJOCO_GL", "off", UnknownNameError, "MUJOCO_GL: no such name 'off'. Known: egl, osmesa. Unset it"),
        ("MUJOCO_GL", "glfw", ConfigError, "MUJOCO_GL=glfw draws into a window.*MUJOCO_GL=egl .*apt-get"),
        ("MUJOCO_GL", " GLX", ConfigError, "MUJOCO_GL=glx .*needs a display.*MUJOCO_GL=osmesa .*libosmesa6"),
        ("PYOPENGL_PLATFORM", "osmesa", ConfigError, "PYOPENGL_PLATFORM: expected 'egl'.*got 'osmesa'"),
        ("MUJOCO_EGL_DEVICE_ID", "-1", ConfigError, "MUJOCO_EGL_DEVICE_ID: expected the number.*got '-1'"),
        ("MUJOCO_EGL_DEVICE_ID", "GPU-8f6a", ConfigError, "MUJOCO_EGL_DEVICE_ID.*unset it"),
    ],
)
def test_variables_that_cannot_work_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, error: type[Exception], message: str
) -> None:
    for name, usual in (("MUJOCO_GL", "egl"), ("PYOPENGL_PLATFORM", "egl")):
        monkeypatch.setenv(name, usual)
    monkeypatch.setenv(variable, value)
    with pytest.raises(error, match=message):
        opengl.require_gl()


def test_a_driver_that_makes_no_context_is_explained() -> None:
    with (
        pytest.raises(MissingDependencyError, match=r"no OpenGL context can be made \(no display\).*apt-get"),
        opengl.explaining_failures(),
    ):
        raise ImportError("no display")


def test_a_device_that_egl_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    opengl.require_gl()
    egl = importlib.import_module("mujoco.egl")
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "99")
    with (
        pytest.raises(ConfigError, match=r"^MUJOCO_EGL_DEVICE_ID: .*got 99\. Unset it"),
        opengl.explaining_failures(),
    ):
        egl.create_initialized_egl_device_display()
