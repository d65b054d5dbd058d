"""Which simulator and which tasks a policy comes from, as far as its folder says.

What others wrote into these files is no reason not to load a policy: anything unexpected says nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.run_folder import is_checkpoint
from ttrl_env.libero_version import installed_mujoco, is_version, same_libero
from ttrl_env.robotwin.catalogue import TASKS
from ttrl_env.suites import LIBERO_SUITES, ROBOTWIN
from ttrl_env.tasks import SUITES, get_suite, get_task, liberos_name

ACTION_SPACE_FILE = "ttrl_policy.json"
"""File beside an OpenVLA's weights with its action space, which published files do not contain."""


def mujoco_of(policy: Path) -> str | None:
    """The version of MuJoCo that the policy in a folder was trained with; ``None`` if nothing says so.

    That of its reinforcement learning, if it belongs to a training checkpoint, else that of the
    demonstrations it was cloned from; of several worlds, one that is not installed. ``None`` too if it was
    trained on RoboTwin, which MuJoCo does not simulate.
    """
    if is_checkpoint(policy.parent):
        state = _read(policy.parent / "state.json")
        versions = None if ROBOTWIN.name in _tasks_of_run(state) else state.get("versions")
        found = [versions.get("mujoco")] if isinstance(versions, dict) else []
    else:
        found = [entry.get("mujoco") for entry in _demonstrations(policy)]
    known = [version for version in found if is_version(version)]
    others = [version for version in known if not same_libero(version, installed_mujoco())]
    return next(iter(others or known), None)


def tasks_of(policy: Path, unnorm_key: str | None = None) -> dict[str, tuple[int, ...]]:
    """The tasks that the policy in a folder was trained on, ids by suite; empty if nothing says so.

    Those of its reinforcement learning, if it belongs to a training checkpoint, else those of the
    demonstrations it was cloned from, else every task of the suites that an OpenVLA has action statistics of.
    RoboTwin's statistics are of single tasks.

    Args:
        policy: the policy's folder.
        unnorm_key: the data set whose statistics are used, if one was chosen.

    Raises:
        MissingDependencyError: demonstrations name tasks, and LIBERO is not installed to number them.
    """
    if is_checkpoint(policy.parent):
        return _tasks_of_run(_read(policy.parent / "state.json"))
    return _demonstrated_tasks(policy) or _tasks_of_statistics(policy, unnorm_key)


def suites_of(policy: Path) -> tuple[str, ...]:
    """The suites of :func:`tasks_of`; they are known without LIBERO."""
    if is_checkpoint(policy.parent):
        return tuple(_tasks_of_run(_read(policy.parent / "state.json")))
    named = [entry.get("suite") for entry in _demonstrations(policy)]
    return tuple(suite for suite in SUITES if suite in named) or tuple(_tasks_of_statistics(policy, None))


def _tasks_of_run(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    config = state.get("config")
    env = config.get("env") if isinstance(config, dict) else None
    suite, task_ids = (env.get("suite"), env.get("task_ids")) if isinstance(env, dict) else (None, None)
    if not isinstance(suite, str) or liberos_name(suite) not in SUITES or not isinstance(task_ids, list):
        return {}
    known = range(get_suite(suite).num_tasks)
    return {liberos_name(suite): tuple(sorted({each for each in task_ids if each in known}))}


def _demonstrated_tasks(policy: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    demonstrations = _demonstrations(policy)
    for suite in LIBERO_SUITES:
        names = [entry.get("task") for entry in demonstrations if entry.get("suite") == suite]
        numbers = range(get_suite(suite).num_tasks if names else 0)
        found[suite] = tuple(each for each in numbers if get_task(suite, each).name in names)
    return {suite: task_ids for suite, task_ids in found.items() if task_ids}


def _tasks_of_statistics(policy: Path, unnorm_key: str | None) -> dict[str, tuple[int, ...]]:
    """LIBERO's data sets are named after suites: ``libero_10_no_noops``, ``libero_90_no_noops_trajall``.

    RoboTwin's are named after tasks: ``lift_pot_1k``. An OpenVLA that ttrl-env has saved names the statistics
    that it was used with.
    """
    unnorm_key = unnorm_key or _read(policy / ACTION_SPACE_FILE).get("unnorm_key")
    statistics = _read(policy / "dataset_statistics.json") or _read(policy / "config.json").get("norm_stats")
    keys = list(statistics) if isinstance(statistics, dict) else []
    if unnorm_key is not None:
        keys = [key for key in keys if key in (unnorm_key, f"{unnorm_key}_no_noops")]
    suites = dict.fromkeys(liberos_name(key.partition("_no_noops")[0]) for key in keys)
    found = {suite: tuple(range(SUITES[suite].num_tasks)) for suite in suites if suite in LIBERO_SUITES}
    two_armed = {task_id for key in keys if (task_id := _robotwin_task(key)) is not None}
    return {**found, ROBOTWIN.name: tuple(sorted(two_armed))} if two_armed else found


def _robotwin_task(data_set: str) -> int | None:
    """The task that a data set is named after, with or without its suite; ``None`` if there is none."""
    name = data_set.removeprefix("robotwin2_")
    named = [task for task in TASKS if f"{name}_".startswith(f"{task.name}_")]
    return max(named, key=lambda task: len(task.name)).task_id if named else None


def _demonstrations(policy: Path) -> list[dict[str, Any]]:
    entries = _read(policy / "config.json").get("demonstrations")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _read(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty if it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
