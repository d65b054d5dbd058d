"""The RoboTwin runtime as a worker uses it: its import, its assets, and the arguments of its tasks."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

from .interface import Settings

ASSETS_VARIABLE = "ROBOTWIN_ASSETS_ROOT"
"""Environment variable of the runtime: the folder that holds ``assets/``."""


@cache
def import_runtime(task: str) -> type[Any]:
    """The runtime's class of a task.

    The runtime imports Open3D, 1.1 GB, for point clouds that no observation here holds. Where it is not
    installed, an empty module takes its place. The runtime also reports missing planners. Actions are joint
    positions and nothing is planned, so that report is shown only if the import fails.
    """
    if "open3d" not in sys.modules and importlib.util.find_spec("open3d") is None:
        sys.modules["open3d"] = types.ModuleType("open3d")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            module = importlib.import_module(f"robotwin.envs.{task}")
    except BaseException:
        print(printed.getvalue(), file=sys.stderr)
        raise
    found: type[Any] = getattr(module, task)
    return found


def unstable_error() -> type[Exception]:
    """What a task raises when its objects do not come to rest; it needs a task that has been imported."""
    from robotwin.envs.utils.create_actor import UnStableError

    error: type[Exception] = UnStableError
    return error


def find_assets(settings: Settings) -> Path:
    """The folder that holds ``assets/``, checked by the runtime, which is told of it.

    Raises:
        ValueError: no folder is named, or directories in it are missing.
    """
    from robotwin.assets import validate_root

    named = settings.assets or os.environ.get(ASSETS_VARIABLE)
    if not named:
        raise ValueError(
            f"no RoboTwin assets: set {ASSETS_VARIABLE}, or assets=, to the folder that holds assets/"
        )
    root = Path(validate_root(named)["root"])
    os.environ[ASSETS_VARIABLE] = str(root)
    os.environ["ASSETS_PATH"] = str(root)  # the runtime reads either, depending on the file
    return root


def task_arguments(task: str, settings: Settings) -> dict[str, Any]:
    """New keywords of ``setup_demo``, as the runtime's own evaluation makes them.

    ``eval_mode`` sets the runtime's step limit and takes the textures that its data collection has not seen.

    Raises:
        ValueError: the task configuration is unknown, or its embodiment is not one robot of two arms.
    """
    import yaml
    from robotwin.config import load_task_config

    root = find_assets(settings)
    arguments: dict[str, Any] = load_task_config(settings.task_config)
    embodiment = arguments["embodiment"]
    if len(embodiment) != 1:
        raise ValueError(
            f"task_config={settings.task_config!r}: expected one two-armed embodiment, got {embodiment}"
        )
    robot = os.path.join(root, load_task_config("_embodiment_config")[embodiment[0]]["file_path"])
    with open(os.path.join(robot, "config.yml"), encoding="utf-8") as file:
        description = yaml.safe_load(file)
    return {
        **arguments,
        "task_name": task,
        "embodiment_name": embodiment[0],
        "dual_arm_embodied": True,
        "left_robot_file": robot,
        "right_robot_file": robot,
        "left_embodiment_config": description,
        "right_embodiment_config": description,
        "planner_backend": "mplib",  # the other one, cuRobo, needs a GPU; neither is asked to plan
        "eval_mode": True,
        "eval_video_log": False,
        "render_freq": 0,
    }
