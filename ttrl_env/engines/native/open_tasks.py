"""The tasks that a native engine has open: read and uploaded by its threads, let go when idle."""

from __future__ import annotations

import gc
import importlib
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ttrl_env import tasks
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.cache import find_bundle, load_bundle
from ttrl_env.engines.native.task.locations import bundle_folder

if TYPE_CHECKING:
    from ttrl_env.engines.native.settled import SettledStates

IDLE_TASKS = 2
"""How many tasks are kept open although no row plays them: a third of a gigabyte each, a second to open."""


class OpenTasks:
    """What an engine's rows play, by task."""

    def __init__(self, config: EngineConfig, num_threads: int) -> None:
        """Nothing is open yet."""
        self.bundles: dict[int, TaskBundle] = {}
        self.settled: dict[int, SettledStates] = {}
        self.homes: dict[int, list[int]] = {}
        """The indices of the threads that may be asked to render a task."""
        self._config = config
        self._num_threads = num_threads

    def give_homes(self, task_ids: Collection[int]) -> list[int]:
        """Give tasks that rows are about to play their threads; returns the tasks that are not open.

        Every thread that renders a task holds its meshes and textures, hundreds of megabytes. So many
        tasks are spread over the threads, and only few tasks are rendered by several.
        """
        new = [task_id for task_id in task_ids if task_id not in self.bundles]
        num_homes = -(-self._num_threads // max(len(task_ids), 1))
        for task_id in new:
            load = Counter(home for homes in self.homes.values() for home in homes)
            self.homes[task_id] = sorted(range(self._num_threads), key=lambda home: load[home])[:num_homes]
        return new

    def read(self, renderer: Renderer, task_id: int) -> TaskBundle | None:
        """A task's bundle if it has been compiled before, uploaded to be rendered by this thread.

        The thread makes its OpenGL context, which only it can do, while a helper reads. What simulates is
        imported during the upload, which needs no GIL: beside the import, reading would wait for the GIL.
        """
        with ThreadPoolExecutor(1) as helper:
            task = tasks.get_task(self._config.suite, task_id)
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
        """Open a task that has been read, or compile it if it was not there to be read.

        Not in a worker thread: robosuite makes OpenGL contexts of its own where it compiles.
        """
        from ttrl_env.engines.native.settled import load_settled

        suite, seed = self._config.suite, self._config.fixture_seed
        task = tasks.get_task(suite, task_id)
        bundle = bundle or load_bundle(task, seed)
        states = tasks.init_states(suite, task_id)
        self.settled[task_id] = load_settled(bundle.place or bundle_folder(task, seed), bundle, states)
        self.bundles[task_id] = bundle  # last: what is interrupted before is not open

    def close_idle(self, played: Collection[int]) -> list[int]:
        """Let go of the tasks that no row plays any more, but for the few last opened; returns them."""
        idle = [task_id for task_id in self.bundles if task_id not in played]
        closed = idle[: max(len(idle) - IDLE_TASKS, 0)]
        for task_id in closed:
            del self.bundles[task_id], self.settled[task_id], self.homes[task_id]
        return closed

    def close(self) -> None:
        """Let go of all."""
        self.bundles.clear()
        self.settled.clear()
        self.homes.clear()


def _import_simulation() -> None:
    """Import Numba and what uses it. Searching what it makes for garbage would take a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module("ttrl_env.engines.native.settled")
    finally:
        if collecting:
            gc.enable()
