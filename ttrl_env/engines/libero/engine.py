"""The reference engine: unmodified LIBERO environments, one a row, in worker processes."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines import observations, opengl
from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState
from ttrl_env.engines.libero.worker import Rows
from ttrl_env.engines.requests import check_started
from ttrl_env.engines.worker_process import WorkerProcess, stop_workers, worker_environment
from ttrl_env.errors import EnvironmentClosedError, EnvironmentDiedError
from ttrl_env.machine.cores import usable_cores

_CLOSED = "the engine is closed (an error closes it too); make a new environment"


class LiberoEngine:
    """Implements :class:`ttrl_env.engines.interface.SimulationEngine` with LIBERO as it is published.

    ``config.num_workers`` processes share the rows (``None``: one a core, at most one a row). With 0, all
    rows run in this process, which suits debuggers. Each row has a whole LIBERO environment, which takes 1
    to 2 GB of memory and seconds to build.

    If a worker raises or dies, the engine raises :class:`EnvironmentDiedError` with its traceback and the
    tasks it ran, and stops the other workers. Workers end with this process, even if it is killed.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Start the workers; environments are built when their rows are first reset."""
        libero_tasks.require_libero()
        opengl.require_gl()
        self.config = config
        self._task_ids: dict[int, int] = {}  # by row, for rows that have been reset
        num_workers = min(config.num_rows, usable_cores())
        if config.num_workers is not None:
            num_workers = min(config.num_rows, config.num_workers)
        self._local: Rows | None = None
        self._workers: list[WorkerProcess] = []
        if num_workers == 0:
            self.observations = observations.allocate(config)
            self._local = Rows(config, self.observations)
        else:
            self.observations, fd = observations.create(config)
            self._workers = [_start_worker(config, fd) for _ in range(num_workers)]
            os.close(fd)
        self._closed = False
        self._turn = threading.RLock()
        self._pid = os.getpid()
        self._when_dropped = weakref.finalize(self, _end, self._workers, self._local, self._pid)
        _OPEN.add(self)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.reset`."""
        self._require_open()
        self._task_ids.update(zip(rows, task_ids, strict=True))
        self._each_row("reset", rows, task_ids, init_state_ids)

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.step`."""
        self._require_open()
        check_started(rows, self._task_ids)
        answers = self._each_row("step", rows, actions, max_steps)
        return ChunkResult(
            executed_steps=np.array([answer[0] for answer in answers], dtype=np.int64),
            success=np.array([answer[1] for answer in answers], dtype=np.bool_),
            failure=[answer[2] for answer in answers],
        )

    def state(self, row: int) -> SimState:
        """See :meth:`ttrl_env.engines.interface.SimulationEngine.state`."""
        self._require_open()
        check_started([row], self._task_ids)
        return self._each_row("state", [row])[0]

    def close(self) -> None:
        """End the worker processes; safe to call twice, and in any thread.

        If another thread is in a call meanwhile, that call raises :class:`EnvironmentClosedError`.
        """
        if os.getpid() != self._pid:
            return  # after a fork: the workers are the parent's
        self._closed = True
        if not self._turn.acquire(blocking=False):
            for worker in self._workers:
                worker.kill()  # so that the call under way ends
            self._turn.acquire()
        try:
            self._when_dropped()
        finally:
            self._turn.release()
        _OPEN.discard(self)

    def _each_row(
        self, method: str, rows: Sequence[int], *arguments: Sequence[Any] | NDArray[Any]
    ) -> list[Any]:
        """Run a method of :class:`Rows` in all workers at once; one result a row, in ``rows``' order."""
        with self._turn:
            self._require_open()
            if self._local is not None:
                return getattr(self._local, method)(list(rows), *arguments)
            try:
                return self._ask(method, rows, *arguments)
            except EnvironmentDiedError:
                if self._closed:  # another thread closed the engine meanwhile
                    raise EnvironmentClosedError(_CLOSED) from None
                self.close()
                raise
            except BaseException:  # also an interrupt: pending answers would be mistaken for the next ones
                self.close()
                raise

    def _ask(self, method: str, rows: Sequence[int], *arguments: Sequence[Any] | NDArray[Any]) -> list[Any]:
        """Send the request to the workers of ``rows``, and collect their answers as they come."""
        places: dict[WorkerProcess, list[int]] = {}
        for place, row in enumerate(rows):  # neighbouring rows go to different workers, to share the cores
            places.setdefault(self._workers[row % len(self._workers)], []).append(place)
        answers: list[Any] = [None] * len(rows)
        for worker, mine in places.items():
            request = (method, ([rows[k] for k in mine], *([each[k] for k in mine] for each in arguments)))
            worker.send(pickle.dumps(request), doing=self._describe(method, [rows[k] for k in mine]))
        while places:
            ready = wait([worker.connection for worker in places])
            for worker in [worker for worker in places if worker.connection in ready]:
                for place, answer in zip(places.pop(worker), _result(worker), strict=True):
                    answers[place] = answer
        return answers

    def _require_open(self) -> None:
        if self._closed:
            raise EnvironmentClosedError(_CLOSED)

    def _describe(self, method: str, rows: Sequence[int]) -> str:
        """Description of a worker's request, for the error message if the worker dies."""
        played = ", ".join(f"row {row}: task {self._task_ids[row]}" for row in rows)
        return f"{method} of {self.config.suite} ({played})"


def _end(workers: Sequence[WorkerProcess], local: Rows | None, pid: int) -> None:
    """Stop an engine's workers and close its environments, on ``close()`` or garbage collection."""
    if os.getpid() != pid:
        return  # after a fork: the workers are the parent's
    stop_workers(workers)
    if local is not None:
        local.close()


_START_WORKER = """
import sys
sys.path[:] = [path for path in sys.path if path]
from ttrl_env.engines.libero.worker import main
main()
"""
"""Source of a worker process. With ``-c``, Python puts the working directory first on the import path. A
user's ``random.py`` there would shadow the standard library's, so the second line removes the directory."""


def _start_worker(config: EngineConfig, memory_fd: int) -> WorkerProcess:
    """A worker that has been told the engine's settings."""
    opengl.choose_backend()
    worker = WorkerProcess(
        [sys.executable, "-c", _START_WORKER],
        memory_fd,
        worker_environment(),
        memory_hint="each row of the upstream engine needs 1 to 2 GB",
    )
    worker.send(pickle.dumps(config))
    return worker


def _result(worker: WorkerProcess) -> Any:
    """What a worker's method returned; raises :class:`EnvironmentDiedError` if it failed."""
    status, answer = pickle.loads(worker.receive())
    if status == "error":
        raise EnvironmentDiedError(f"a LIBERO environment failed {answer}")
    return answer


_OPEN: weakref.WeakSet[LiberoEngine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close all engines at exit, while the interpreter can still free GL contexts and processes."""
    for engine in list(_OPEN):
        engine.close()
