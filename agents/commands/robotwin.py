"""``ttrl robotwin``: the environment of RoboTwin's workers is made or checked, its tasks are listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.commands.checks import report
from ttrl_env.agents.commands.listing import print_rows
from ttrl_env.agents.config.bounds import Distinct, Text
from ttrl_env.agents.config.output_folders import Folder, FolderSettings
from ttrl_env.errors import ConfigError
from ttrl_env.robotwin import installation
from ttrl_env.robotwin.assets import ASSETS_VARIABLE
from ttrl_env.robotwin.catalogue import TASKS, task_id_of
from ttrl_env.robotwin.processes import PYTHON_VARIABLE, find_python


@dataclass(frozen=True, kw_only=True)
class RoboTwinConfig(FolderSettings):
    """The environment of another Python that plays RoboTwin, its assets, and the fifty tasks."""

    action: Literal["setup", "check", "tasks"] | None = None
    """`setup` makes the environment and checks it, `check` says what is missing, `tasks` lists the tasks."""
    folder: Annotated[str | None, Folder()] = None
    """Folder of the environment; null: one in the cache folder (`TTRL_CACHE`), where workers find it."""
    python: Annotated[str | None, Text()] = None
    """setup: Python 3.10 or 3.11 to make it with; null: one is looked for. check: the interpreter to check;
    null: what `TTRL_ROBOTWIN_PYTHON` names, or that of the environment in the cache folder."""
    assets: Annotated[str | None, Text()] = None
    """Folder of the assets; null: what `TTRL_ROBOTWIN_ASSETS` names."""
    tasks: Annotated[tuple[str, ...], Distinct("task")] = ()
    """check: tasks whose objects must be among the assets; empty: all."""
    json: bool = False
    """tasks: as JSON, for programs; `--json` is short for it."""


SCHEMA = RoboTwinConfig


def run(arguments: Sequence[str]) -> int:
    """Do what is asked for; returns 1 if a check failed."""
    config = read_arguments("robotwin", arguments, SCHEMA)
    if config is None:
        return 0
    for name in config.tasks:
        task_id_of(name, "tasks")
    if config.action == "setup":
        return _set_up(config)
    if config.action == "check":
        return _check(_python(config), config)
    if config.action == "tasks":
        return _list(config)
    raise ConfigError(
        "action: name one, `ttrl robotwin setup`, `ttrl robotwin check` or `ttrl robotwin tasks`"
    )


def _set_up(config: RoboTwinConfig) -> int:
    """Make the environment, unless it is there; check it, and say how it is used."""
    from ttrl_env.agents.common.progress import Display

    display = Display()
    folder = Path(config.folder or installation.default_folder()).absolute()
    installation.check_folder(folder)
    if installation.is_current(folder):
        display.say(f"{folder} is there already; delete it to have it made anew")
    else:
        base = installation.find_base_python(config.python)
        display.say(f"making {folder} with {base}: 1.6 GB on the disk, more with a PyTorch for GPUs")
        with display.bar("packages", len(installation.requirements())) as progress:
            installation.install(folder, base, progress)
    python = str(installation.python_of(folder))
    failed = _check(python, config)
    display.say(
        f"\nIn your shell's start-up file:\n"
        f"export {PYTHON_VARIABLE}={python}\n"
        f"export {ASSETS_VARIABLE}=FOLDER   # what holds assets/, see above"
    )
    return failed


def _check(python: str, config: RoboTwinConfig) -> int:
    from ttrl_env.robotwin.checkup import checks

    return report(checks(python, config.assets, config.tasks))


def _python(config: RoboTwinConfig) -> str:
    """The interpreter to check."""
    if config.folder is not None:
        return str(installation.python_of(Path(config.folder).absolute()))
    return find_python(config.python)


def _list(config: RoboTwinConfig) -> int:
    rows = [_row(task_id) for task_id in range(len(TASKS))]
    print_rows(rows, config.json, nothing="boxes")
    return 0


def _row(task_id: int) -> dict[str, Any]:
    task = TASKS[task_id]
    return {
        "id": task.task_id,
        "name": task.name,
        "horizon": task.horizon,
        "step_limit": task.step_limit,
        "objects": list(task.objects),
    }
