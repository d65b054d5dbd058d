"""Checks of what playing RoboTwin needs besides this package: interpreter, runtime, Vulkan device, assets.

A check returns a description of what it found, or raises an error that says what to do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttrl_env.errors import MissingDependencyError, UnsupportedVersionError
from ttrl_env.robotwin.assets import (
    EMBODIMENT,
    OBJECTS,
    TEXTURES,
    find_assets,
    how_to_get_assets,
    missing_for_randomized,
    missing_objects,
)
from ttrl_env.robotwin.catalogue import TASKS, task_id_of
from ttrl_env.robotwin.installation import PYTHONS
from ttrl_env.robotwin.worker import probe

Check = Callable[[], str]

NO_VULKAN = (
    "SAPIEN draws with Vulkan, which needs a driver: NVIDIA's own for its GPUs (in a container, "
    "NVIDIA_DRIVER_CAPABILITIES must have `graphics`), else Mesa 25 or newer, which draws on the processor "
    "too: `apt install mesa-vulkan-drivers` on Debian 13, `apt install -t bookworm-backports "
    "mesa-vulkan-drivers` on Debian 12, whose own 22.3 is too old. VK_ICD_FILENAMES names the driver's file "
    "where it lies elsewhere"
)
"""What to do where there is no device to draw with."""

HOW_TO_SET_UP = "`ttrl robotwin setup` makes an environment that has what is needed"

_PROBE_TIMEOUT_S = 300.0
"""The runtime's first import takes long on a cold disk."""


def checks(python: str, assets: str | None = None, tasks: Sequence[str] = ()) -> Iterator[tuple[str, Check]]:
    """Name and function of every check; call each before taking the next one.

    Args:
        python: the other interpreter.
        assets: folder of the assets; ``None``: what the environment names.
        tasks: RoboTwin's names of the tasks whose objects must be there; empty: all.
    """
    found: dict[str, Any] = {}

    def check_interpreter() -> str:
        found.update(ask(python))
        return f"Python {found['python']}, {python}"

    yield "interpreter", check_interpreter
    if found:
        yield "runtime", lambda: check_runtime(found, python)
        yield "Vulkan", lambda: check_vulkan(found["vulkan"])
    fetcher = python if found else None
    roots: list[Path] = []

    def check_robot() -> str:
        roots.append(find_assets(assets, fetcher))
        return str(roots[0] / EMBODIMENT)

    yield "robot", check_robot
    if roots:
        yield "objects", lambda: check_objects(roots[0], fetcher, tasks)
        yield "demo_randomized", lambda: check_randomized(roots[0], fetcher)


def require_device_and_assets(python: str, assets: str | None, task_config: str) -> Path:
    """The folder of the assets; raises, as the checks do, if it lacks what every task needs.

    Raises:
        MissingDependencyError: there is no robot, no Vulkan device, or nothing to randomise with.
    """
    root = find_assets(assets, python)
    if task_config == "demo_randomized":
        check_randomized(root, python)
    check_vulkan(_ask(python, "vulkan")["vulkan"])
    return root


def ask(python: str) -> dict[str, Any]:
    """What :mod:`.worker.probe` prints in the other interpreter.

    Raises:
        MissingDependencyError: it does not run, or ends before it has answered.
        UnsupportedVersionError: it is another version of Python than the runtime supports.
    """
    found = _ask(python)
    if found["python"].rpartition(".")[0] not in PYTHONS:
        raise UnsupportedVersionError(
            f"RoboTwin's runtime needs Python 3.10 or 3.11, {python} is {found['python']}. {HOW_TO_SET_UP}"
        )
    return found


def check_runtime(found: Mapping[str, Any], python: str) -> str:
    """All distributions are there, and the runtime can be imported."""
    missing = [name for name, version in found["versions"].items() if version is None]
    if missing:
        raise MissingDependencyError(f"{python} has no {', '.join(missing)}. {HOW_TO_SET_UP}")
    if found["import_error"]:
        raise MissingDependencyError(
            f"the runtime of {python} cannot be imported: {found['import_error']}. {HOW_TO_SET_UP}"
        )
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def check_vulkan(vulkan: Mapping[str, str]) -> str:
    """SAPIEN finds a device to draw with."""
    if "error" in vulkan:
        raise MissingDependencyError(f"no device to draw with ({vulkan['error']}). {NO_VULKAN}")
    device = vulkan["device"]
    slowly = "; it draws on the processor, which takes 0.1 to 0.4 s an image" if "llvmpipe" in device else ""
    return f"{device}{slowly}"


def check_objects(root: Path, python: str | None, tasks: Sequence[str]) -> str:
    """The models that the tasks load are there."""
    chosen = [TASKS[task_id_of(name, "tasks")] for name in tasks] or list(TASKS)
    lacking = {task.name: missing_objects(root, task.objects) for task in chosen}
    if not any(lacking.values()):
        return f"those of {', '.join(task.name for task in chosen) if tasks else 'all fifty tasks'}"
    missing = sorted({name for names in lacking.values() for name in names})
    playable = [name for name, names in lacking.items() if not names]
    loading = ", ".join(name for name, names in lacking.items() if names)
    raise MissingDependencyError(
        f"{root / OBJECTS} has no {', '.join(missing)}"
        + (f", which {loading} needs. " if tasks else ". ")
        + how_to_get_assets(python)
        + (f". What can be played without them: {', '.join(playable)}" if playable else "")
    )


def check_randomized(root: Path, python: str | None) -> str:
    """The backgrounds and the clutter are there that the recipe's configuration of a task draws from."""
    missing = missing_for_randomized(root)
    if missing:
        raise MissingDependencyError(
            f"{root} has no {', '.join(missing)}, which task_config=demo_randomized draws from. "
            f"{how_to_get_assets(python)}"
        )
    return f"{root / TEXTURES}, {root / OBJECTS}"


def _ask(python: str, *arguments: str) -> dict[str, Any]:
    command = [python, "-I", probe.__file__, *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingDependencyError(f"{python} does not run as a Python interpreter: {error}") from error
    try:
        return json.loads(ran.stdout)
    except json.JSONDecodeError as error:
        raise MissingDependencyError(
            f"{python} ended with {ran.returncode} before it had said what it has: "
            f"{ran.stderr.strip()[-1000:]}"
        ) from error
