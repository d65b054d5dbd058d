"""What environments of one task share: the compiled bundle, the scene, and ids in the model."""

from __future__ import annotations

import functools
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ttrl_env import libero_tasks
from ttrl_env.engines.mujoco.layouts import placement_layout
from ttrl_env.engines.native.records import QuietPairs
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.libero.scene import Scene, open_scene
from ttrl_env.suites import LIBERO_SUITES


class SharedTask:
    """One task for the simulations of this process. Nothing in it changes."""

    def __init__(self, bddl_file: str) -> None:
        """Open the task; it is compiled first if it is not in the cache, which takes seconds.

        Raises :class:`~ttrl_env.errors.UnsupportedTaskError` if the native engine does not cover the task.
        """
        self.scene: Scene = open_scene(bddl_file)
        self.bundle = load_bundle(_task(bddl_file))
        model, problem = self.bundle.model, self.scene.problem
        self.layout = placement_layout(model)
        self.quiet = _within_fixtures(self.bundle.arrays.quiet, model)
        self.arrays = self.bundle.arrays._replace(quiet=self.quiet)
        robot = problem.robots[0]
        self.arm_init_qpos = np.array(robot.init_qpos)
        self.gripper_init_qpos = np.array(robot.gripper.init_qpos)
        self.gripper_dofs = np.array([model.joint(name).dofadr[0] for name in robot.gripper.joints])
        self.objects = {obj.name: int(model.body(obj.root_body).id) for obj in problem.objects}
        """Root bodies of the movable objects, by name and in LIBERO's order."""


def open_task(bddl_file: str) -> SharedTask:
    """The task of a BDDL file; environments that are open at the same time share it."""
    key = (bddl_file, Path(bddl_file).stat().st_mtime_ns)
    shared = _OPEN.get(key)
    if shared is None:
        shared = _OPEN[key] = SharedTask(bddl_file)
    return shared


_OPEN: weakref.WeakValueDictionary[Any, SharedTask] = weakref.WeakValueDictionary()


def _task(bddl_file: str) -> libero_tasks.LiberoTask:
    """The task of a suite whose file this is, so that its compiled form is found; else a task of its own."""
    place = Path(bddl_file).resolve()
    known = _known_tasks(place.parent.name).get(place)
    if known is not None:
        return known
    return libero_tasks.LiberoTask(
        suite="bddl", task_id=0, name=place.stem, instruction=place.stem, horizon=1000, bddl_file=place
    )


@functools.cache
def _known_tasks(suite: str) -> dict[Path, libero_tasks.LiberoTask]:
    """The tasks of the suite of this name, if there is one, by their files."""
    if suite not in LIBERO_SUITES:
        return {}
    found = (libero_tasks.get_task(suite, task_id) for task_id in range(LIBERO_SUITES[suite].num_tasks))
    return {task.bddl_file.resolve(): task for task in found}


def _within_fixtures(quiet: QuietPairs, model: Any) -> QuietPairs:
    """The quiet pairs of bodies of the same fixture.

    Bodies of two fixtures are apart where the bundle's fixtures stand. Here every reset moves them.
    """
    first, second = quiet.signatures >> 16, quiet.signatures & 0xFFFF
    return quiet._replace(signatures=quiet.signatures[model.body_rootid[first] == model.body_rootid[second]])
