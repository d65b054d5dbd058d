"""The reference engine: unmodified LIBERO environments, one a row, in worker processes."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from multiprocessing import Pipe
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import opengl, shared_arrays, tasks
from ttrl_env.errors import EnvironmentDiedError
from ttrl_env.simulation import ChunkResult, EngineConfig, SimState
from ttrl_env.upstream_worker import Rows


class UpstreamEngine:
    """Implements :class:`ttrl_env.simulation.SimulationEngine` with LIBERO as it is published.

    ``config.num_workers`` processes (``None``: one a core, at most one a row) share the rows; 0
    runs them all in this process, which a single environment inside someone else's subprocess
    needs. Each row holds a whole LIBERO environment: 1 to 2 GB of memory and seconds to build.

    A worker that raises or dies turns into :class:`EnvironmentDiedError` with its traceback; the
    other workers are stopped. Workers end with this process, even if it is killed.
    """

    def __init__(self, config: EngineConfig) -> None:
        tasks.require_libero()
        opengl.require_gl()
        self.config = config
        num_workers = min(config.num_rows, os.cpu_count() or 1)
        if config.num_workers is not None:
            num_workers = min(config.num_rows, config.num_workers)
        self._local: Rows | None = None
        self._workers: list[_Worker] = []
        if num_workers == 0:
            self.observations = shared_arrays.allocate(config)
            self._local = Rows(config, self.observations)
        else:
            self.observations, fd = shared_arrays.create(config)
            self._workers = [_Worker(config, fd) for _ in range(num_workers)]
            os.close(fd)
        _OPEN.add(self)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """See :meth:`ttrl_env.simulation.SimulationEngine.reset`."""
        self._each_worker("reset", rows, list(task_ids), list(init_state_ids))

    def step(self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]) -> ChunkResult:
        """See :meth:`ttrl_env.simulation.SimulationEngine.step`."""
        answers = self._each_worker("step", rows, actions, list(max_steps))
        return ChunkResult(
            executed_steps=np.array([answer[0] for answer in answers], dtype=np.int64),
            success=np.array([answer[1] for answer in answers], dtype=np.bool_),
            failure=[answer[2] for answer in answers],
        )

    def state(self, row: int) -> SimState:
        """See :meth:`ttrl_env.simulation.SimulationEngine.state`."""
        if self._local is not None:
            return self._local.state(row)
        worker = self._worker_of(row)
        worker.send("state", (row,))
        return self._receive(worker)

    def close(self) -> None:
        """End the worker processes; safe to call twice."""
        if self._local is not None:
            self._local.close()
        for worker in self._workers:
            worker.stop()
        self._workers = []
        _OPEN.discard(self)

    def _worker_of(self, row: int) -> _Worker:
        """Neighbouring rows go to different workers, so that the rows still running share the cores."""
        if not self._workers:
            raise RuntimeError("the engine is closed")
        return self._workers[row % len(self._workers)]

    def _each_worker(self, method: str, rows: Sequence[int], *arguments: Any) -> list[Any]:
        """Run a method on every worker for its own rows, at once; answers in the order of ``rows``."""
        if self._local is not None:
            return getattr(self._local, method)(list(rows), *arguments) or []
        places: dict[_Worker, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(self._worker_of(row), []).append(place)
        for worker, mine in places.items():
            worker.send(method, ([rows[k] for k in mine], *([each[k] for k in mine] for each in arguments)))
        answers: list[Any] = [None] * len(rows)
        for worker, mine in places.items():
            for place, answer in zip(mine, self._receive(worker) or [None] * len(mine), strict=True):
                answers[place] = answer
        return answers

    def _receive(self, worker: _Worker) -> Any:
        try:
            return worker.receive()
        except EnvironmentDiedError:
            self.close()
            raise


class _Worker:
    """A worker process and the parent's end of its connection."""

    def __init__(self, config: EngineConfig, memory_fd: int) -> None:
        self._connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()
        # A plain subprocess rather than multiprocessing: it does not import the user's main module
        # again, may be started from daemonic processes, and takes no part in the terminal's Ctrl-C,
        # so that an interrupted run can still save its state.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ttrl_env.upstream_worker", str(theirs.fileno()), str(memory_fd)],
                pass_fds=(theirs.fileno(), memory_fd),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_worker_environment(),
            )
        self._send(config)

    def send(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Ask for a method to be run; :meth:`receive` gives its result."""
        self._send((method, arguments))

    def receive(self) -> Any:
        """The result of the oldest request, or :class:`EnvironmentDiedError`."""
        try:
            status, answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if status == "error":
            raise EnvironmentDiedError(f"a LIBERO environment failed {answer}")
        return answer

    def stop(self) -> None:
        """Close the connection, which ends the process, and wait for it."""
        self._connection.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # busy with a request nobody waits for
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except BrokenPipeError:
            raise self._died() from None

    def _died(self) -> EnvironmentDiedError:
        code = self._process.wait()
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace")[-4000:]
        return EnvironmentDiedError(
            f"a simulation process ended with exit code {code} (-9: killed, often for want of memory; "
            f"each row of the upstream engine needs 1 to 2 GB). Its last output:\n{tail}"
        )


def _worker_environment() -> dict[str, str]:
    """The parent's environment, with its import path and one thread a library: workers are the parallelism."""
    opengl.choose_backend()
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"):
        environment.setdefault(variable, "1")
    return environment


_OPEN: weakref.WeakSet[UpstreamEngine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Free GL contexts and processes while the interpreter is still whole."""
    for engine in list(_OPEN):
        engine.close()
