"""Suites of tasks, LIBERO's and RoboTwin's: the facts that are known with no simulator installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ttrl_env.errors import UnsupportedSuiteError, unknown_name

Benchmark: TypeAlias = Literal["libero", "robotwin"]
"""Whose simulator plays a suite."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite of tasks."""

    name: str
    """The benchmark's name of it, e.g. ``"libero_spatial"``."""
    gym_name: str
    """The name in environment ids, e.g. ``"LiberoSpatial"``."""
    num_tasks: int
    """Number of tasks; ids start at 0."""
    horizon: int
    """Default ``max_steps`` in policy steps, settle steps excluded. LIBERO: OpenVLA's protocol. RoboTwin:
    that of most tasks; :attr:`Task.horizon` has each one's."""
    benchmark: Benchmark = "libero"
    """Whose simulator plays it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a suite."""

    suite: str
    task_id: int
    name: str
    """The benchmark's name of the task."""
    instruction: str
    """The task in natural language. LIBERO's policies are given it; RoboTwin words it anew each episode."""
    horizon: int
    """Default ``max_steps`` in policy steps."""


PRO_SHIFTS = {"lan": "Language", "object": "Object", "swap": "Swap", "task": "Task"}
"""LIBERO-PRO's perturbations: reworded instructions, replaced objects, swapped positions, changed goals."""


def _liberos() -> dict[str, Suite]:
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


LIBERO_SUITES: dict[str, Suite] = _liberos()
"""LIBERO's suites by name: five of LIBERO (130 tasks), sixteen of LIBERO-PRO (160 tasks)."""

ROBOTWIN = Suite(name="robotwin", gym_name="RoboTwin", num_tasks=50, horizon=200, benchmark="robotwin")
"""RoboTwin 2.0's tasks for two arms."""

SUITES: dict[str, Suite] = {**LIBERO_SUITES, ROBOTWIN.name: ROBOTWIN}
"""Every suite by name."""

_COMMUNITYS_LIBERO_10 = "libero_long"
"""The community's name of libero_10, accepted wherever a suite's name is expected."""


def suite_names() -> tuple[str, ...]:
    """Names of every suite."""
    return tuple(SUITES)


def get_suite(name: str, argument: str = "suite") -> Suite:
    """Look a suite up by its name or the community's; an unknown one raises with the nearest names.

    ``argument`` is what the error names.

    >>> get_suite("libero_long").name
    'libero_10'
    """
    if not isinstance(name, str) or liberos_name(name) not in SUITES:
        raise unknown_name(argument, name, SUITES)
    return SUITES[liberos_name(name)]


def get_libero_suite(name: str, argument: str = "suite") -> Suite:
    """Look up a suite of LIBERO or LIBERO-PRO, for what is made for LIBERO alone.

    Raises:
        UnsupportedSuiteError: the suite is another benchmark's.
    """
    suite = get_suite(name, argument)
    if suite.benchmark != "libero":
        raise UnsupportedSuiteError(
            f"{argument}: expected a suite of LIBERO, got {name!r}: this part of ttrl-env is for LIBERO "
            f"alone. Known: {', '.join(LIBERO_SUITES)}"
        )
    return suite


def liberos_name(suite: str) -> str:
    """LIBERO's name of a suite, also for the name that papers and model cards use."""
    if suite.startswith(_COMMUNITYS_LIBERO_10):
        return suite.replace(_COMMUNITYS_LIBERO_10, "libero_10", 1)
    return suite


def original_suite(suite: str) -> str:
    """LIBERO's suite that a LIBERO-PRO suite is a change of; every other suite is its own.

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
