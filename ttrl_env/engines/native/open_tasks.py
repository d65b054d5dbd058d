"""The tasks that a native engine has open: its threads read and upload them, and idle ones are closed."""

from __future__ import annotations

import gc
import importlib
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ttrl_env import libero_tasks
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.cache import find_bundle, load_bundle
from ttrl_env.engines.native.task.locations import bundle_folder

if TYPE_CHECKING:
    from ttrl_env.engines.native.settled import SettledStates

IDLE_TASKS = 2
"""Number of tasks kept open although no row plays them: a third of a gigabyte each, a second to open."""


class OpenTasks:
    """The tasks that an engine has open, by task id, and the threads that render each of them."""

    def __init__(self, config: EngineConfig, num_threads: int) -> None:
        """Start without open tasks."""
        self.bundles: dict[int, TaskBundle] = {}
        self.settled: dict[int, SettledStates] = {}
        self.homes: dict[int, list[int]] = {}
        """For each task, the indices of the threads that may render it."""
        self._config = config
        self._num_threads = num_threads

    def give_homes(self, task_ids: Collection[int]) -> list[int]:
        """Assign threads to the tasks that rows are about to play; returns the tasks that are not open.

        Every thread that renders a task holds its meshes and textures, hundreds of megabytes. So if there
        are many tasks, each gets one thread; if there are few, each gets several.
        """
        new = [task_id for task_id in task_ids if task_id not in self.bundles]
        num_homes = -(-self._num_threads // max(len(task_ids), 1))
        for task_id in new:
            load = Counter(home for homes in self.homes.values() for home in homes)
            self.homes[task_id] = sorted(range(self._num_threads), key=lambda home: load[home])[:num_homes]
        return new

    def read(self, renderer: Renderer, task_id: int) -> TaskBundle | None:
        """Read a task's bundle if there is one, and upload it to this thread's OpenGL context.

        Only this thread can make its OpenGL context; a helper thread reads the files meanwhile. Next the
        helper imports the simulation code, during the upload, which does not need the GIL. If reading and
        importing overlapped, reading would wait for the GIL.
        """
        with ThreadPoolExecutor(1) as helper:
            task = libero_tasks.get_task(self._config.suite, task_id)
            reading = helper.submit(find_bundle, task, self._config.fixture_seed)
            importing = helper.submit(_import_simulation)
            if self._config.cameras:
                renderer.warm_up()
            bundle = reading.result()
            if bundle is not None and self._config.cameras:
                renderer.upload(bundle)
            elif bundle is not None:
                bundle.textures.let_go()
            importing.result()
        return bundle

    def add(self, task_id: int, bundle: TaskBundle | None) -> None:
        """Open a task with the bundle that :meth:`read` returned; compile the task first if that is ``None``.

        Not to be called in a worker thread: compiling makes robosuite's own OpenGL contexts.
        """
        from ttrl_env.engines.native.settled import load_settled

        suite, seed = self._config.suite, self._config.fixture_seed
        task = libero_tasks.get_task(suite, task_id)
        bundle = bundle or load_bundle(task, seed)
        states = libero_tasks.init_states(suite, task_id)
        self.settled[task_id] = load_settled(bundle.place or bundle_folder(task, seed), bundle, states)
        self.bundles[task_id] = bundle  # last, so that an interrupted task is not open

    def close_idle(self, played: Collection[int]) -> list[int]:
        """Close tasks that no row plays any more, but keep the last opened few; returns the closed ones."""
        idle = [task_id for task_id in self.bundles if task_id not in played]
        closed = idle[: max(len(idle) - IDLE_TASKS, 0)]
        for task_id in closed:
            del self.bundles[task_id], self.settled[task_id], self.homes[task_id]
        return closed

    def close(self) -> None:
        """Close all tasks."""
        self.bundles.clear()
        self.settled.clear()
        self.homes.clear()


def _import_simulation() -> None:
    """Import Numba and the modules that use it, a quarter faster because garbage collection is off."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("ttrl_env.engines.native.settled")
    finally:
        if collecting:
            gc.enable()
