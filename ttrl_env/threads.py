"""Worker threads that simulate and draw, and survive what happens in them."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, TypeAlias

from ttrl_env import libmujoco
from ttrl_env.errors import EnvironmentDiedError
from ttrl_env.rendering import RenderThread

Job: TypeAlias = Callable[[RenderThread], Any]
"""What a thread is asked to do; it is given its own means of drawing."""


class ThreadPool:
    """Worker threads, each with an OpenGL context of its own, that share one queue of jobs."""

    def __init__(self, num_threads: int, image_size: int) -> None:
        """Start the threads."""
        libmujoco.on_fatal_error(_strand_this_thread)
        self._jobs: queue.SimpleQueue[tuple[Job, Future] | None] = queue.SimpleQueue()
        # Daemons, so that a forgotten environment does not keep the interpreter from exiting; they are
        # ended in order at exit all the same.
        self._threads = [
            _Worker(target=self._work, args=(image_size,), name=f"ttrl-env-{k}", daemon=True)
            for k in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """Run jobs and return their results in order; waits for all, then raises the first error."""
        futures: list[Future] = [Future() for _ in jobs]
        for job, future in zip(jobs, futures, strict=True):
            self._jobs.put((job, future))
        if all(thread.stranded for thread in self._threads):
            self._refuse_the_rest()
        for error in [future.exception() for future in futures]:
            if error is not None:
                raise error
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads, once they have done what they were asked."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if not thread.stranded:
                thread.join()

    def _work(self, image_size: int) -> None:
        worker = _this_worker()
        thread = RenderThread(image_size)
        while (entry := self._jobs.get()) is not None:
            job, worker.future = entry
            worker.pool = self
            try:
                result = job(thread)
            except BaseException as error:  # noqa: BLE001  raised again by run()
                worker.future.set_exception(error)
            else:
                worker.future.set_result(result)
        thread.close()

    def _refuse_the_rest(self) -> None:
        """Fail every job that no thread is left to run."""
        while True:
            try:
                entry = self._jobs.get_nowait()
            except queue.Empty:
                return
            if entry is not None:
                entry[1].set_exception(EnvironmentDiedError("no simulation thread is left"))

    def _strand(self, worker: _Worker, message: str) -> None:
        worker.stranded = True
        error = EnvironmentDiedError(
            f"MuJoCo reported a fatal error, which would have ended the process: {message} "
            f"The environment cannot go on; make a new one."
        )
        if all(thread.stranded for thread in self._threads):
            self._refuse_the_rest()
        worker.future.set_exception(error)


class _Worker(threading.Thread):
    """A thread of a pool, and what it is doing."""

    pool: ThreadPool
    future: Future
    stranded = False
    """Whether MuJoCo gave up inside it; it then never runs anything again."""


def _this_worker() -> _Worker:
    worker = threading.current_thread()
    assert isinstance(worker, _Worker)
    return worker


def _strand_this_thread(message: str) -> NoReturn:
    """Report a fatal error of MuJoCo and stop this thread for good.

    There is no way back out of MuJoCo: returning would let it continue in a state it has declared
    impossible. So the thread sleeps from now on, with its simulation, and whoever waits for its job is
    told.
    """
    worker = threading.current_thread()
    if not isinstance(worker, _Worker):  # nobody waits: end the process, as MuJoCo would
        sys.stderr.write(f"MuJoCo: {message}\n")
        sys.stderr.flush()
        os._exit(1)
    worker.pool._strand(worker, message)
    while True:
        threading.Event().wait()
