"""The reference engine: unmodified LIBERO environments, one a row, in worker processes."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.engines import observations, opengl
from ttrl_env.engines.interface import ChunkResult, EngineConfig, SimState
from ttrl_env.engines.libero.worker import Rows
from ttrl_env.engines.requests import check_started
from ttrl_env.errors import EnvironmentClosedError, EnvironmentDiedError
from ttrl_env.machine.cores import usable_cores

_CLOSED = "the engine is closed (an error closes it too); make a new environment"

STOP_TIMEOUT_S = 1.0
"""Time that a worker gets to finish its request before it is killed."""


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
        tasks.require_libero()
        opengl.require_gl()
        self.config = config
        self._task_ids: dict[int, int] = {}  # by row, for rows that have been reset
        num_workers = min(config.num_rows, usable_cores())
        if config.num_workers is not None:
            num_workers = min(config.num_rows, config.num_workers)
        self._local: Rows | None = None
        self._workers: list[_WorkerProcess] = []
        if num_workers == 0:
            self.observations = observations.allocate(config)
            self._local = Rows(config, self.observations)
        else:
            self.observations, fd = observations.create(config)
            self._workers = [_WorkerProcess(config, fd) for _ in range(num_workers)]
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
        places: dict[_WorkerProcess, list[int]] = {}
        for place, row in enumerate(rows):  # neighbouring rows go to different workers, to share the cores
            places.setdefault(self._workers[row % len(self._workers)], []).append(place)
        answers: list[Any] = [None] * len(rows)
        for worker, mine in places.items():
            worker.send(
                method,
                ([rows[k] for k in mine], *([each[k] for k in mine] for each in arguments)),
                doing=self._describe(method, [rows[k] for k in mine]),
            )
        while places:
            ready = wait([worker.connection for worker in places])
            for worker in [worker for worker in places if worker.connection in ready]:
                for place, answer in zip(places.pop(worker), worker.receive(), strict=True):
                    answers[place] = answer
        return answers

    def _require_open(self) -> None:
        if self._closed:
            raise EnvironmentClosedError(_CLOSED)

    def _describe(self, method: str, rows: Sequence[int]) -> str:
        """Description of a worker's request, for the error message if the worker dies."""
        played = ", ".join(f"row {row}: task {self._task_ids[row]}" for row in rows)
        return f"{method} of {self.config.suite} ({played})"


def _end(workers: Sequence[_WorkerProcess], local: Rows | None, pid: int) -> None:
    """Stop an engine's workers and close its environments, on ``close()`` or garbage collection."""
    if os.getpid() != pid:
        return  # after a fork: the workers are the parent's
    for worker in workers:
        worker.hang_up()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for worker in workers:
        worker.stop(deadline)
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


class _WorkerProcess:
    """A worker process and the parent's end of the connection to it."""

    def __init__(self, config: EngineConfig, memory_fd: int) -> None:
        self.connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._doing = "starting"
        # A plain subprocess rather than multiprocessing: it does not import the user's main module
        # again, may be started from daemonic processes, and takes no part in the terminal's Ctrl-C,
        # so that an interrupted run can still save its state.
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _START_WORKER),
                    *(str(theirs.fileno()), str(memory_fd), str(os.getpid())),
                ],
                pass_fds=(theirs.fileno(), memory_fd),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_worker_environment(),
            )
        self._send(config)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def send(self, method: str, arguments: tuple[Any, ...], doing: str) -> None:
        """Request that the worker runs a method; :meth:`receive` returns the result."""
        self._doing = doing
        self._send((method, arguments))

    def receive(self) -> Any:
        """The result of the last request; raises :class:`EnvironmentDiedError` if the worker failed."""
        try:
            status, answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if status == "error":
            raise EnvironmentDiedError(f"a LIBERO environment failed {answer}")
        return answer

    def kill(self) -> None:
        """Kill the process at once, even if it is busy."""
        self._process.kill()

    def hang_up(self) -> None:
        """Close the connection: an idle process ends at once, a busy one after its request."""
        self.connection.close()

    def stop(self, deadline: float) -> None:
        """Wait for the process to end until ``deadline`` (``time.monotonic``), then kill it."""
        try:
            self._process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def _died(self) -> EnvironmentDiedError:
        code = self._process.wait()
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace")[-4000:]
        return EnvironmentDiedError(
            f"a simulation process ended with exit code {code} during {self._doing}. (-9: killed, often "
            f"for lack of memory; each row of the upstream engine needs 1 to 2 GB.) Its last output:\n{tail}"
        )


def _worker_environment() -> dict[str, str]:
    """Environment variables for workers: the parent's import path, and one thread a numerical library."""
    opengl.choose_backend()
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"):
        environment.setdefault(variable, "1")
    return environment


_OPEN: weakref.WeakSet[LiberoEngine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close all engines at exit, while the interpreter can still free GL contexts and processes."""
    for engine in list(_OPEN):
        engine.close()
