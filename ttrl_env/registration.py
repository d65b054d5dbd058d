"""Gymnasium ids of every suite and every task, registered without importing a simulator."""

from __future__ import annotations

import gymnasium

from ttrl_env.suites import LIBERO_SUITES, Suite, get_suite

NAMESPACE = "ttrl_env"

_SINGLE_ENV = "ttrl_env.single_env:LiberoEnv"
_VECTOR_ENV = "ttrl_env.vector_entry:make_vec"


def env_id(suite: str, task_id: int | None = None) -> str:
    """The Gymnasium id of a suite, or of one of its tasks.

    >>> env_id("libero_spatial"), env_id("libero_spatial", 3)
    ('ttrl_env/LiberoSpatial-v0', 'ttrl_env/LiberoSpatial-3-v0')
    """
    task = "" if task_id is None else f"-{task_id}"
    return f"{NAMESPACE}/{get_suite(suite).gym_name}{task}-v0"


def register_envs() -> None:
    """Register ``ttrl_env/<Suite>-v0`` and ``ttrl_env/<Suite>-<task>-v0`` for every suite and task.

    Entry points are strings, which Gymnasium imports when an environment is made. No
    ``max_episode_steps`` is registered: the environments truncate at ``max_steps`` themselves.
    """
    for suite in LIBERO_SUITES.values():
        _register(suite, None)
        for task_id in range(suite.num_tasks):
            _register(suite, task_id)


def _register(suite: Suite, task_id: int | None) -> None:
    name = env_id(suite.name, task_id)
    if name in gymnasium.registry:  # the package was reloaded; Gymnasium would warn of an override
        return
    gymnasium.register(
        name,
        entry_point=_SINGLE_ENV,
        vector_entry_point=_VECTOR_ENV,
        kwargs={"suite": suite.name} if task_id is None else {"suite": suite.name, "task_id": task_id},
    )
