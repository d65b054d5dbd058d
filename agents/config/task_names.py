"""Names of RoboTwin's tasks on the command line, in place of their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ttrl_env.errors import ConfigError
from ttrl_env.robotwin.catalogue import task_id_of
from ttrl_env.suites import ROBOTWIN, get_suite

_KEY = "env.task_ids"

_NAME = re.compile(r"[A-Za-z]\w*")


def with_task_ids(settings: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """``(key, value)`` pairs with numbers for the names in ``env.task_ids``.

    No other suite's tasks have these names, so they imply ``env.suite=robotwin``.

    Raises:
        UnknownNameError: RoboTwin has no such task, with the nearest name.
        ConfigError: ``env.suite`` is given, and another.
    """
    if not any(key == _KEY and _has_names(value) for key, value in settings):
        return list(settings)
    suites = [value.strip("'\"") for key, value in settings if key == "env.suite"]
    for suite in suites:
        _check_suite(suite)
    implied = [] if suites else [("env.suite", ROBOTWIN.name)]
    return implied + [(key, _numbered(value) if key == _KEY else value) for key, value in settings]


def _check_suite(suite: str) -> None:
    if (known := get_suite(suite, "env.suite")) != ROBOTWIN:
        raise ConfigError(
            f"{_KEY}: names are for RoboTwin's tasks; those of env.suite={suite} are numbers, 0 to "
            f"{known.num_tasks - 1}, which `ttrl tasks {suite}` lists"
        )


def _has_names(value: str) -> bool:
    return any(_NAME.fullmatch(each) for each in _elements(value))


def _numbered(value: str) -> str:
    numbers = [
        str(task_id_of(each, _KEY)) if _NAME.fullmatch(each) else each for each in _elements(value) if each
    ]
    return f"[{','.join(numbers)}]"


def _elements(value: str) -> list[str]:
    return [each.strip().strip("'\"") for each in value.strip().strip("[]").split(",")]
