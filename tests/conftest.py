"""Shared by all tests: import path, OpenGL, Triton's interpreter, and one real LIBERO for many tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose more to barriers than they gain
sys.path.insert(0, str(Path(__file__).parents[1]))  # helpers are imported as tests.<folder>.<module>

from ttrl_env import tasks
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


OFF = ("all_tasks", "equivalence", "thorough", "integrations")
"""Marks of tests that take long, or that need what is not installed."""


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

    engines: list[LiberoEngine] = []

    def share(config: EngineConfig) -> SimulationEngine:
        if not engines:
            engines.append(LiberoEngine(config))
        assert engines[0].config == config
        return _Borrowed(engines[0])

    # The workers read the initial states when they first need them, under the path set at their start.
    folder = tmp_path_factory.mktemp("stove")
    with pytest.MonkeyPatch.context() as monkeypatch, _turning_stove(folder, monkeypatch):
        share(EngineConfig(suite="libero_goal", num_rows=3, image_size=64, num_workers=2))
    yield share
    engines[0].close()


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
    tasks.init_states.cache_clear()
    yield
    monkeypatch.delenv("LIBERO_CONFIG_PATH")
    tasks.init_states.cache_clear()
