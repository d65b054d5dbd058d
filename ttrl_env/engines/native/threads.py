"""Worker threads that simulate and render; errors in their jobs are raised in the thread that waits."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from ttrl_env.engines.mujoco import mujoco_c
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.errors import EnvironmentClosedError, EnvironmentDiedError

Job: TypeAlias = Callable[[Renderer], Any]
"""A function that a worker thread calls with its renderer."""

STACK_BYTES = 16 << 20
"""Stack size of each thread, whatever ``ulimit -s`` says: MuJoCo, Mesa and compilers recurse deeply."""

_CLOSED = "the engine is closed (a fatal error closes it too); make a new environment"
"""Error text for calls after closing, and for calls that wait while another thread closes the engine."""


class ThreadPool:
    """Worker threads, each with an OpenGL context of its own."""

    def __init__(self, num_threads: int, image_size: int) -> None:
        """Start the threads."""
        mujoco_c.on_fatal_error(_strand_this_thread)
        self.num_threads = num_threads
        self._queued: list[_Entry] = []
        self._busy: set[int] = set()
        self._changed = threading.Condition()
        self._closing = False
        # Daemons, so that an environment that was not closed does not keep the interpreter from exiting.
        # They are still ended in order at exit.
        self._threads = [_WorkerThread(self, index, image_size) for index in range(num_threads)]
        before = threading.stack_size(STACK_BYTES)
        try:
            for thread in self._threads:
                thread.start()
        finally:
            threading.stack_size(before)

    def start(self, jobs: Sequence[Job], threads: Sequence[Collection[int]]) -> list[Future[Any]]:
        """Queue jobs and return without waiting; :func:`wait_for` collects their results.

        Args:
            jobs: the functions to call.
            threads: for each job, the indices of the threads that may run it.
        """
        entries = [_Entry(job, allowed, Future()) for job, allowed in zip(jobs, threads, strict=True)]
        with self._changed:
            self.require_open()
            self._queued.extend(entries)
            self._changed.notify_all()
        return [entry.future for entry in entries]

    def require_open(self) -> None:
        """Raise :class:`EnvironmentClosedError` if the threads have been told to end."""
        if self._closing:
            raise EnvironmentClosedError(_CLOSED)

    def drain(self, error: BaseException) -> None:
        """Make the jobs that have not begun fail with ``error``, and wait for those that have."""
        self.fail(error)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)

    def close(self) -> None:
        """End the threads after the jobs that they have begun; safe to call twice.

        Garbage collection may free an environment in a worker thread. Called there, this does not wait for
        the threads, because they might wait for that thread.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if isinstance(threading.current_thread(), _WorkerThread):
            self.fail(EnvironmentClosedError(_CLOSED))
            return
        self.drain(EnvironmentClosedError(_CLOSED))
        for thread in self._threads:
            if not thread.stranded:
                thread.join()

    def take(self, index: int) -> _Entry | None:
        """Wait for the next job of an idle thread; ``None`` when the pool is closed."""
        with self._changed:
            self.leave(index)
            while True:
                for entry in self._queued:
                    if index in entry.threads:
                        self._queued.remove(entry)
                        self._busy.add(index)
                        return entry
                if self._closing:
                    return None
                self._changed.wait()

    def leave(self, index: int) -> None:
        """Note that a thread is no longer busy."""
        with self._changed:
            self._busy.discard(index)
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Make every job that has not begun fail with ``error``."""
        with self._changed:
            for entry in self._queued:
                entry.future.set_exception(error)
            self._queued.clear()


def wait_for(futures: Sequence[Future[Any]]) -> list[Any]:
    """The results of jobs; waits for all, then raises the first error."""
    for error in [future.exception() for future in futures]:
        if error is not None:
            raise error
    return [future.result() for future in futures]


@dataclass(eq=False)
class _Entry:
    """A job in the queue."""

    job: Job
    threads: Collection[int]
    future: Future[Any]


class _WorkerThread(threading.Thread):
    """A thread of a pool."""

    def __init__(self, pool: ThreadPool, index: int, image_size: int) -> None:
        super().__init__(name=f"ttrl-env-{index}", daemon=True)
        self.stranded = False
        """Whether MuJoCo has reported a fatal error in this thread, which then never runs a job again."""
        self._pool = pool
        self._index = index
        self._image_size = image_size
        self._future: Future[Any] = Future()

    def run(self) -> None:
        renderer = Renderer(self._image_size)
        while (entry := self._pool.take(self._index)) is not None:
            self._future = entry.future
            try:
                result = entry.job(renderer)
            except BaseException as error:  # noqa: BLE001  raised again by wait_for()
                self._future.set_exception(error)
            else:
                self._future.set_result(result)
                del result
            del entry  # an idle thread must hold no references: errors refer to the engine
            self._future = Future()
        renderer.close()

    def strand(self, message: str) -> None:
        """Make all waiting jobs fail because MuJoCo has reported a fatal error in this thread."""
        self.stranded = True
        error = EnvironmentDiedError(
            f"MuJoCo reported a fatal error, which would have ended the process: {message} "
            f"The environment cannot go on; make a new one."
        )
        self._pool.fail(error)
        self._future.set_exception(error)
        self._pool.leave(self._index)


def _strand_this_thread(message: str) -> NoReturn:
    """Report a fatal error of MuJoCo and stop this thread for good.

    If this handler returned, MuJoCo would continue in an invalid state. So the thread sleeps forever, and
    its simulation is never freed. The thread that waits for its job gets an error.
    """
    worker = threading.current_thread()
    if not isinstance(worker, _WorkerThread):  # no job to fail: end the process, as MuJoCo would
        sys.stderr.write(f"MuJoCo: {message}\n")
        sys.stderr.flush()
        os._exit(1)
    worker.strand(message)
    while True:
        threading.Event().wait()
