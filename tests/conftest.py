"""Shared by all tests: import path, caches, OpenGL, Triton's interpreter, one real LIBERO for many tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose more to barriers than they gain
# Before Numba is imported. One folder for every process and the next run: compiling takes a minute.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "compiled"))
sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers are imported as tests.<folder>.<module>

from tests.contract.counting_engine import counting
from tests.ray_cluster import ray_cluster as ray_cluster
from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import EngineConfig, SimulationEngine
from ttrl_env.engines.make_engine import EngineChoice


def _has_gpu() -> bool:
    """Whether PyTorch has a GPU. Without NVIDIA's driver it is not asked: importing it takes seconds."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


if not _has_gpu():  # before any test, or a library it uses, imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")
opengl.choose_backend()  # before any test imports MuJoCo
opengl.load_triton_first()  # before any test renders, LIBERO itself included


OFF = ("all_tasks", "equivalence", "thorough", "integrations", "robotwin")
"""Marks of tests that take long, or that need what is not installed."""


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of the run one cache of compiled tasks; bundles of other code are not trusted."""
    if not hasattr(config, "workerinput"):  # a worker has it from the process that started it
        folder = tempfile.mkdtemp(prefix="ttrl-cache-")
        os.environ["TTRL_CACHE"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder))  # hundreds of megabytes a task


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is ``OFF`` out unless the ``-m`` expression names it."""
    wanted = config.getoption("-m")
    left_out = [item for item in items if any(item.get_closest_marker(m) and m not in wanted for m in OFF)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def turning_stove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LIBERO's "turn on the stove" with initial states in which the knob turns by itself."""
    with _turning_stove(tmp_path, monkeypatch):
        yield


@pytest.fixture(scope="session")
def stove_engine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EngineChoice]:
    """The ``engine`` argument of environments that share one real simulation of the turning stove.

    Three rows in two worker processes, built once. An environment that uses it needs the fixture
    ``turning_stove`` too, and ``STOVE`` as its keywords.
    """
    from ttrl_env.engines.libero.engine import LiberoEngine

    shared = _Shared(LiberoEngine)
    # The workers read the initial states when they first need them, under the path set at their start.
    folder = tmp_path_factory.mktemp("stove")
    with pytest.MonkeyPatch.context() as monkeypatch, _turning_stove(folder, monkeypatch):
        shared(EngineConfig(suite="libero_goal", num_rows=3, image_size=64, num_workers=2, group_size=3))
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def native_stove_engine() -> Iterator[EngineChoice]:
    """The same with the native engine, whose opening takes most of a short test."""
    from ttrl_env.engines.native.engine import NativeEngine

    shared = _Shared(NativeEngine)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def ray_counting_engine(ray_cluster: Any) -> Iterator[EngineChoice]:
    """The ``engine`` argument of environments that share two Ray actors, in which engines count."""
    from ttrl_env.engines.ray_actors.engine import RayEngine

    engine = counting(success_at={0: 1, 2: 7, 3: 10}, failure_at={4: 5})
    shared = _Shared(partial(RayEngine, make_engine=engine))
    yield shared
    shared.close()


class _Shared:
    """Builds an engine when first called; lends it to each environment that asks for it."""

    def __init__(self, engine_class: Callable[[EngineConfig], SimulationEngine]) -> None:
        self._engine_class = engine_class
        self._engine: SimulationEngine | None = None

    def __call__(self, config: EngineConfig) -> SimulationEngine:
        if self._engine is None:
            self._engine = self._engine_class(config)
        assert self._engine.config == config
        return _Borrowed(self._engine)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


class _Borrowed:
    """An engine that its environment may use but not close."""

    def __init__(self, engine: SimulationEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _turning_stove(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from tests.ttrl_env.stove import install_initial_states

    install_initial_states(folder)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(folder))
    libero_tasks.init_states.cache_clear()
    yield
    monkeypatch.delenv("LIBERO_CONFIG_PATH")
    libero_tasks.init_states.cache_clear()
