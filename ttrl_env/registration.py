"""Gymnasium ids of every suite and every task, registered without importing a simulator."""

from __future__ import annotations

from typing import Any

import gymnasium

from ttrl_env.robotwin.catalogue import TASKS
from ttrl_env.suites import LIBERO_SUITES, ROBOTWIN, check_task_id, get_suite

NAMESPACE = "ttrl_env"

_LIBERO = ("ttrl_env.single_env:LiberoEnv", "ttrl_env.vector_entry:make_vec")
_ROBOTWIN = ("ttrl_env.robotwin.single_env:RoboTwinEnv", "ttrl_env.vector_entry:make_robotwin_vec")
"""Entry points of the single and of the vector environment."""


def env_id(suite: str, task_id: int | None = None) -> str:
    """The Gymnasium id of a suite, or of one of its tasks; RoboTwin's tasks have names.

    >>> env_id("libero_spatial"), env_id("libero_spatial", 3), env_id("robotwin", 45)
    ('ttrl_env/LiberoSpatial-v0', 'ttrl_env/LiberoSpatial-3-v0', 'ttrl_env/RoboTwin-stack_blocks_two-v0')
    """
    found = get_suite(suite)
    task: int | str | None = task_id
    if task_id is not None and found is ROBOTWIN:
        task = TASKS[check_task_id(suite, task_id)].name
    return f"{NAMESPACE}/{found.gym_name}{'' if task is None else f'-{task}'}-v0"


def register_envs() -> None:
    """Register an id for every suite and every task.

    Entry points are strings, which Gymnasium imports when an environment is made. No
    ``max_episode_steps`` is registered: the environments truncate at ``max_steps`` themselves.
    """
    for suite in LIBERO_SUITES.values():
        _register(env_id(suite.name), _LIBERO, suite=suite.name)
        for task_id in range(suite.num_tasks):
            _register(env_id(suite.name, task_id), _LIBERO, suite=suite.name, task_id=task_id)
    _register(env_id(ROBOTWIN.name), _ROBOTWIN)
    for task in TASKS:
        _register(env_id(ROBOTWIN.name, task.task_id), _ROBOTWIN, task_id=task.task_id)


def _register(name: str, entry_points: tuple[str, str], **kwargs: Any) -> None:
    if name in gymnasium.registry:  # the package was reloaded; Gymnasium would warn of an override
        return
    single, vector = entry_points
    gymnasium.register(name, entry_point=single, vector_entry_point=vector, kwargs=kwargs)
