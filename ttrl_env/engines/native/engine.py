"""The native engine: replicas of compiled tasks in threads of this process.

Rows of the same task share one compiled model; each has its own simulation state. Worker threads
execute whole chunks of actions without the GIL and render only the images that are returned.
Resetting restores arrays: an initial state is settled and rendered once, however many rows start from it.

Importing this module is light. The first reset imports the simulation code (Numba, SciPy), while threads
already upload the task.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines import observations, opengl
from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState
from ttrl_env.engines.requests import check_reset, check_started
from ttrl_env.errors import EnvironmentDiedError, ForkedProcessError
from ttrl_env.machine.cores import usable_cores

opengl.require_gl()  # must come before MuJoCo is imported

from ttrl_env.engines.native.open_tasks import OpenTasks  # noqa: E402
from ttrl_env.engines.native.renderer import Renderer  # noqa: E402
from ttrl_env.engines.native.threads import Job, ThreadPool, wait_for  # noqa: E402

if TYPE_CHECKING:
    from ttrl_env.engines.native.replica import Replica, Snapshot

REMEMBERED_STARTS = 64
"""Number of settled initial states kept in memory with their images: a fraction of a megabyte each."""


class _Start(NamedTuple):
    """A settled initial state and its first images, by camera."""

    snapshot: Snapshot
    images: dict[str, NDArray[np.uint8]]


class NativeEngine:
    """Implements :class:`ttrl_env.engines.interface.SimulationEngine` with LIBERO's arithmetic and pixels.

    ``config.num_workers`` threads (``None``: one a core, at most one a row) share the rows. A task is
    compiled through LIBERO the first time it is played on a machine, which takes seconds. Afterwards it is
    opened from the cache.

    Usable only in the process that made it: threads and OpenGL contexts do not survive a fork. Calls from
    several threads of that process run one after the other. An interrupted call leaves no jobs running; its
    rows must be reset.
    """

    any_thread = True
    """Simulations run in threads of their own, whichever thread asks for them."""

    def __init__(self, config: EngineConfig) -> None:
        """Start the threads; tasks are opened when rows are first reset to them."""
        libero_tasks.require_libero()
        opengl.require_gl()
        self.config = config
        self.observations = observations.allocate(config)
        self._pid = os.getpid()
        self._rows: dict[int, tuple[int, Replica]] = {}
        self._starts: OrderedDict[tuple[int, bytes], _Start] = OrderedDict()
        num_threads = min(config.num_workers or usable_cores(), config.num_rows)
        self._tasks = OpenTasks(config, num_threads)
        self._pool = ThreadPool(num_threads, config.image_size)
        self._turn = threading.RLock()
        self._halfway: set[int] = set()
        self._when_dropped = weakref.finalize(self, _end_threads, self._pool, self._pid)
        self._when_dropped.atexit = False  # too late for OpenGL: see _close_at_exit
        _OPEN.add(self)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.reset`."""
        check_reset(self.config, rows, task_ids, init_state_ids)
        starts: dict[tuple[int, int], list[int]] = {}
        for row, task_id, init_state_id in zip(rows, task_ids, init_state_ids, strict=True):
            starts.setdefault((task_id, init_state_id), []).append(row)
        jobs = [
            partial(self._begin, rows=mine, task_id=task_id, init_state_id=init_state_id)
            for (task_id, init_state_id), mine in starts.items()
        ]
        with self._taking_turns():
            self._open_tasks(sorted({task_id for task_id, _ in starts}))
            self._change(rows, jobs, [task_id for task_id, _ in starts])
            self._close_idle_tasks()
            _close_at_exit()

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.step`."""
        jobs = [
            partial(self._advance, row=row, actions=chunk[:limit])
            for row, chunk, limit in zip(rows, actions, max_steps, strict=True)
        ]
        with self._taking_turns():
            check_started(rows, self._rows)
            halfway = sorted(self._halfway.intersection(rows))
            if halfway:
                raise ResetNeeded(f"step: an earlier call left rows {halfway} halfway; reset them first")
            answers = self._change(rows, jobs, [self._rows[row][0] for row in rows])
        return ChunkResult(
            executed_steps=np.array([answer[0] for answer in answers], dtype=np.int64),
            success=np.array([answer[1] for answer in answers], dtype=np.bool_),
            failure=[answer[2] for answer in answers],
        )

    def state(self, row: int) -> SimState:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.state`."""
        with self._taking_turns():
            check_started([row], self._rows)
            return self._rows[row][1].state()

    def close(self) -> None:
        """End the threads and free simulations and OpenGL contexts; safe to call twice, and in any thread.

        If another thread is in a call meanwhile, that call raises :class:`EnvironmentClosedError`.
        """
        if os.getpid() != self._pid:
            return  # a forked child has none of the threads and contexts, and nobody would release the lock
        self._when_dropped()
        with self._turn:
            self._rows.clear()
            self._tasks.close()
            self._starts.clear()
        _OPEN.discard(self)

    @contextlib.contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Make other threads' calls wait; all jobs have ended when the context is left, even by an error."""
        self._require_usable()
        with self._turn:
            self._pool.drain(RuntimeError(_INTERRUPTED))  # of a call interrupted while it drained
            try:
                yield
            except BaseException:
                self._pool.drain(RuntimeError(_INTERRUPTED))
                raise

    def _require_usable(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                "the environment was made before this process was forked, and its threads do not exist here; "
                "make it in the process that uses it"
            )
        self._pool.require_open()

    def _open_tasks(self, task_ids: Sequence[int]) -> None:
        """Open those of the tasks that are not open yet."""
        new = self._tasks.give_homes(task_ids)
        reading = self._start([partial(self._tasks.read, task_id=task_id) for task_id in new], new)
        for task_id, bundle in zip(new, self._wait_for(reading), strict=True):
            self._tasks.add(task_id, bundle)

    def _close_idle_tasks(self) -> None:
        """Close tasks that no row plays any more, and forget their settled initial states."""
        for task_id in self._tasks.close_idle({task_id for task_id, _ in self._rows.values()}):
            for key in [key for key in self._starts if key[0] == task_id]:
                del self._starts[key]

    def _begin(self, renderer: Renderer, rows: Sequence[int], task_id: int, init_state_id: int) -> None:
        """Put rows of one task at one settled initial state."""
        init_state = libero_tasks.init_states(self.config.suite, task_id)[init_state_id]
        key = (task_id, init_state.tobytes())
        renderer.keep_only(list(self._tasks.bundles.values()))
        start = self._starts.get(key)
        if start is None:
            start = self._settle(renderer, rows[0], task_id, init_state)
            self._starts[key] = start
            while len(self._starts) > REMEMBERED_STARTS:
                self._starts.popitem(last=False)
        for row in rows:
            replica = self._replica(row, task_id)
            replica.restore(start.snapshot)
            self._publish_proprioception(row, replica)
            for name, image in start.images.items():
                self.observations[name][row] = image

    def _settle(self, renderer: Renderer, row: int, task_id: int, init_state: NDArray[np.float64]) -> _Start:
        """Settle an initial state with a row's simulation and render its first images."""
        from ttrl_env.engines.native.settled import SETTLE_STEPS

        replica = self._replica(row, task_id)
        kept = self._tasks.settled[task_id].find(init_state)
        if kept is not None and self.config.settle_steps == SETTLE_STEPS:
            replica.restore(kept)
        else:
            replica.reset(init_state, self.config.settle_steps)
        size = self.config.image_size
        images = {f"{camera}_image": np.empty((size, size, 3), np.uint8) for camera in self.config.cameras}
        for camera in self.config.cameras:
            renderer.render(replica.bundle, replica.sample, camera, images[f"{camera}_image"])
        return _Start(replica.snapshot(), images)

    def _advance(
        self, renderer: Renderer, row: int, actions: NDArray[np.float64]
    ) -> tuple[int, bool, str | None]:
        """Execute a chunk on a row and update its observations, unless the simulation diverged."""
        replica = self._rows[row][1]
        renderer.keep_only(list(self._tasks.bundles.values()))
        executed, success, failure = replica.step(np.ascontiguousarray(actions))
        if failure is None:
            self._publish_proprioception(row, replica)
            for camera in self.config.cameras:
                image = self.observations[f"{camera}_image"][row]
                renderer.render(replica.bundle, replica.sample, camera, image)
        return executed, success, failure

    def _replica(self, row: int, task_id: int) -> Replica:
        """The row's simulation; a new one if the row last played another task."""
        from ttrl_env.engines.native.replica import Replica

        if row not in self._rows or self._rows[row][0] != task_id:
            self._rows[row] = (task_id, Replica(self._tasks.bundles[task_id]))
        return self._rows[row][1]

    def _publish_proprioception(self, row: int, replica: Replica) -> None:
        self.observations["robot0_eef_pos"][row] = replica.sample.eef_pos
        self.observations["robot0_eef_quat"][row] = replica.sample.eef_quat
        self.observations["robot0_gripper_qpos"][row] = replica.sample.gripper_qpos
        if self.config.robot_state:
            for key, value in replica.robot_state().items():
                self.observations[key][row] = value

    def _change(self, rows: Sequence[int], jobs: Sequence[Job], task_ids: Sequence[int]) -> list[Any]:
        """Run jobs that change ``rows``; if a job fails, the rows stay marked as halfway."""
        self._halfway.update(rows)
        answers = self._run(jobs, task_ids)
        self._halfway.difference_update(rows)
        return answers

    def _run(self, jobs: Sequence[Job], task_ids: Sequence[int]) -> list[Any]:
        """Run each job in a thread of its task and wait for all; raises the first error."""
        return self._wait_for(self._start(jobs, task_ids))

    def _start(self, jobs: Sequence[Job], task_ids: Sequence[int]) -> list[Future[Any]]:
        return self._pool.start(jobs, [self._tasks.homes[task_id] for task_id in task_ids])

    def _wait_for(self, futures: Sequence[Future[Any]]) -> list[Any]:
        try:
            return wait_for(futures)
        except EnvironmentDiedError:  # a thread is lost, and its rows with it
            self.close()
            raise


def _end_threads(pool: ThreadPool, pid: int) -> None:
    """End an engine's threads, on ``close()`` or garbage collection."""
    if os.getpid() == pid:
        pool.close()


_INTERRUPTED = "the call that this job is part of was interrupted"

_OPEN: weakref.WeakSet[NativeEngine] = weakref.WeakSet()


def _close_at_exit() -> None:
    """Register the freeing of OpenGL contexts at exit, while EGL is still up.

    MuJoCo registers EGL's shutdown when the first context is made. Exit functions run in reverse order, so
    this one is registered again at every reset.
    """
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def _close_all() -> None:
    for engine in list(_OPEN):
        engine.close()
