"""The native engine among processes: forks, spawns, several engines, fatal errors, a quiet end."""

from __future__ import annotations

import ctypes
import ctypes.util
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.ttrl_env.engines.reference import mixed_actions, native_engine, play, play_anew
from tests.ttrl_env.stove import SUITE, TASK_ID
from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.errors import EnvironmentClosedError, EnvironmentDiedError, ForkedProcessError

pytestmark = pytest.mark.libero


@pytest.mark.usefixtures("turning_stove")
def test_a_fatal_error_of_mujoco_becomes_an_exception() -> None:
    import mujoco

    library = ctypes.CDLL(mujoco._functions.__file__)
    with native_engine(SUITE, num_rows=2, num_workers=2, cameras=()) as engine:
        engine.reset([0, 1], [TASK_ID] * 2, [0, 1])
        with pytest.raises(EnvironmentDiedError, match=r"MuJoCo reported a fatal error.*: arena is full"):
            engine._run([lambda thread: library.mju_error(b"arena is %s", b"full")] * 3, [TASK_ID] * 3)
        with pytest.raises(EnvironmentClosedError, match="the engine is closed"):
            engine.reset([0], [TASK_ID], [0])


@pytest.mark.usefixtures("turning_stove")
def test_forked_processes_are_told_what_does_not_work_instead_of_hanging() -> None:
    with native_engine(SUITE) as engine:
        engine.reset([0], [TASK_ID], [0])

        def make_another() -> None:
            with native_engine(SUITE) as another:
                another.reset([0], [TASK_ID], [0])

        for attempt in (lambda: engine.reset([0], [TASK_ID], [0]), make_another):
            child = os.fork()
            if child == 0:
                try:
                    attempt()
                except ForkedProcessError as error:
                    os._exit(0 if "forked" in str(error) else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_opening_a_cached_task_is_light_and_exits_quietly(tmp_path: Path) -> None:
    script = f"""
import sys
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.engine import NativeEngine
engine = NativeEngine(EngineConfig(suite={SUITE!r}, num_rows=1, image_size=64))
engine.reset([0], [{TASK_ID}], [0])
engine._rows[0][1]._data.qvel[:] = 1e11
import numpy as np
assert engine.step([0], np.zeros((1, 1, 7)), [1]).failure[0]
print([name for name in ("robosuite", "torch", "triton", "libero.libero.envs") if name in sys.modules])
import importlib.util
if importlib.util.find_spec("triton"):
    import triton._C.libtriton  # its LLVM and Mesa's do not get on in any order
"""
    load_bundle(libero_tasks.get_task(SUITE, TASK_ID))  # make sure that it is cached
    assert run_quietly(script, tmp_path) == "[]\n"
    assert list(tmp_path.iterdir()) == []  # MuJoCo's log of warnings, for one


PLAY = f"""
import os, sys
import numpy as np
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.engine import NativeEngine

def play():
    engine = NativeEngine(EngineConfig(suite={SUITE!r}, num_rows=1, image_size=64))
    engine.reset([0], [{TASK_ID}], [0])
    engine.step([0], np.full((1, 3, 7), 0.5), [3])
    return engine.state(0).qpos.tobytes().hex(), engine.observations["agentview_image"][0]
"""


def test_forking_works_before_anything_is_rendered(tmp_path: Path) -> None:
    script = f"""{PLAY}
child = os.fork()
qpos, image = play()
print(qpos, int(image.sum()), flush=True)  # a line of each process
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    load_bundle(libero_tasks.get_task(SUITE, TASK_ID))
    first, second = run_quietly(script, tmp_path).splitlines()
    assert first == second


def test_a_spawned_process_plays_as_its_parent_does() -> None:
    actions = mixed_actions(4, seed=2)
    with native_engine(SUITE) as engine:
        qpos, image = play(engine, actions)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            child_qpos, child_image = pool.apply(play_anew, (SUITE, TASK_ID, actions))
    np.testing.assert_array_equal(child_qpos, qpos)
    np.testing.assert_array_equal(child_image, image)


@pytest.mark.skipif(ctypes.util.find_library("OSMesa") is None, reason=f"no OSMesa: {opengl.APT_LINE_OSMESA}")
def test_osmesa_draws_what_egl_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"{PLAY}\nnp.save(sys.argv[1], play()[1])"
    images = []
    for backend in ("egl", "osmesa"):
        monkeypatch.setenv("MUJOCO_GL", backend)
        monkeypatch.setenv("PYOPENGL_PLATFORM", backend)
        run_quietly(script, tmp_path, str(tmp_path / f"{backend}.npy"))
        images.append(np.load(tmp_path / f"{backend}.npy").astype(int))
    assert images[0].std() > 20  # a picture of something
    assert np.abs(images[0] - images[1]).mean() < 1.0  # equal where both are Mesa's software rasteriser


def test_engines_in_one_process_do_not_disturb_each_other() -> None:
    """Two engines with tasks of their own, stepped at once by two threads; one is closed on the way."""
    actions = mixed_actions(6, seed=4)
    with native_engine(SUITE) as alone:
        expected = play(alone, actions)
    with (
        native_engine(SUITE) as one,
        native_engine("libero_object") as other,
        ThreadPoolExecutor(2) as threads,
    ):
        mine = threads.submit(play, one, actions)
        threads.submit(play, other, actions, task_id=0).result()
        other.close()
        for got, value in zip(mine.result(), expected, strict=True):
            np.testing.assert_array_equal(got, value)
        for got, value in zip(play(one, actions), expected, strict=True):  # OpenGL is still up
            np.testing.assert_array_equal(got, value)
        threads.shutdown()


def run_quietly(script: str, folder: Path, *arguments: str) -> str:
    """What a Python process prints that must exit well and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
