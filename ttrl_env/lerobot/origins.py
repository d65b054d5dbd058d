"""Where the episodes of a LeRobotDataset come from: what it says itself, or what its instructions tell.

LeRobot's format has no place for the suite, the task, the initial state or the version of MuJoCo, and LeRobot
drops unknown keys of ``info.json``. So datasets of :func:`ttrl_env.lerobot.dataset.write_dataset` have a file
of their own beside that one. It is copied, uploaded and downloaded with the dataset, and does not survive
LeRobot's tools that rearrange episodes::

    meta/ttrl_env.json    {"episodes": [{"suite": ..., "task": ..., "mujoco": ..., "init_state_id": ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttrl_env.demonstrations.origins import Origin
from ttrl_env.errors import MissingDependencyError
from ttrl_env.libero_tasks import LiberoTask, liberos_own_tasks
from ttrl_env.libero_version import is_version
from ttrl_env.machine.whole_files import write_whole

ORIGINS = Path("meta/ttrl_env.json")


def write_origins(folder: Path, origins: Sequence[Origin]) -> None:
    """Write where the episodes of a dataset come from, in their order."""
    content = {"episodes": [origin._asdict() for origin in origins]}
    write_whole(folder / ORIGINS, json.dumps(content, indent=1) + "\n")


def read_origins(folder: Path, instructions: Sequence[str]) -> list[Origin]:
    """Where the episodes of a dataset come from.

    Without a usable file, or with one of another number of episodes, instructions of LIBERO's own suites
    tell. If one suite alone has all of the dataset's instructions, it is that one. Otherwise an instruction
    tells its task if no other task has it. What stays ambiguous is unknown.

    Args:
        folder: the dataset.
        instructions: the instruction of each of its episodes.
    """
    written = _read(folder / ORIGINS)
    if written is not None and len(written) == len(instructions):
        return written
    known = _tasks_by_instruction(set(instructions))
    return [known.get(instruction, Origin()) for instruction in instructions]


def _read(file: Path) -> list[Origin] | None:
    """The origins in a file; ``None`` if it is missing or holds anything else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return [_origin(**entry) for entry in content["episodes"]]
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _origin(*, suite: Any, task: Any, mujoco: Any, init_state_id: Any) -> Origin:
    """An entry of the file; raises ``TypeError`` if a value is of another kind."""
    if not all(isinstance(name, str | None) for name in (suite, task)):
        raise TypeError("expected text or null")
    if init_state_id is not None and (type(init_state_id) is not int or init_state_id < 0):
        raise TypeError("expected an integer from 0 on, or null")
    return Origin(suite, task, mujoco if is_version(mujoco) else None, init_state_id)


def _tasks_by_instruction(instructions: set[str]) -> dict[str, Origin]:
    """The tasks of a dataset's instructions, as far as they are unambiguous."""
    try:
        candidates = list(liberos_own_tasks())
    except MissingDependencyError:  # without LIBERO nobody can tell
        return {}
    suites = {task.suite for task in candidates}
    whole = [
        suite
        for suite in suites
        if instructions <= {task.instruction for task in candidates if task.suite == suite}
    ]
    if len(whole) == 1:
        candidates = [task for task in candidates if task.suite == whole[0]]
    found: dict[str, list[LiberoTask]] = {}
    for task in candidates:
        found.setdefault(task.instruction, []).append(task)
    unique = {instruction: tasks[0] for instruction, tasks in found.items() if len(tasks) == 1}
    return {instruction: Origin(task.suite, task.name) for instruction, task in unique.items()}
