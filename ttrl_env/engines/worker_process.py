"""A child process that answers its parent's requests: how it starts, fails and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing import Pipe

from ttrl_env.errors import EnvironmentDiedError

STOP_TIMEOUT_S = 1.0
"""Time that a worker gets to finish its request before it is killed."""

LAST_WORDS_S = 0.5
"""Time that a worker gets to write its stack before it is killed because it hangs."""

LOG_TAIL_BYTES = 4000
"""How much of a worker's last output an error shows."""


class WorkerProcess:
    """A worker process, its log, and the parent's end of the connection to it.

    The worker reads and writes whole messages of bytes with ``multiprocessing.connection.Connection``. It is
    a plain subprocess rather than multiprocessing's: it does not import the user's main module again, may be
    of another interpreter, may be started from daemonic processes, and takes no part in the terminal's
    Ctrl-C, so that an interrupted run can still save its state.
    """

    def __init__(
        self,
        command: Sequence[str],
        memory_fd: int,
        environment: Mapping[str, str],
        *,
        memory_hint: str,
        arguments: Sequence[str] = (),
    ) -> None:
        """Start the process.

        Args:
            command: interpreter and code; ``CONNECTION_FD MEMORY_FD PARENT_PID`` and ``arguments`` follow it.
            memory_fd: descriptor of shared memory, which the worker inherits.
            environment: its environment variables.
            memory_hint: what it needs of memory, for the error message if it is killed.
            arguments: further arguments of the command.
        """
        self.connection, theirs = Pipe()
        """The parent's end, to wait for."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._doing = "starting"
        self._memory_hint = memory_hint
        with theirs:
            fds = (theirs.fileno(), memory_fd)
            self._process = subprocess.Popen(
                [*command, *map(str, fds), str(os.getpid()), *arguments],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(environment),
            )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return self._process.poll() is not None

    def send(self, message: bytes, doing: str | None = None) -> None:
        """Send a request; :meth:`receive` returns the answer.

        Args:
            message: the request.
            doing: what the worker does from now on, for the error message if it dies; default as before.
        """
        self._doing = doing or self._doing
        try:
            self.connection.send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self.died() from None

    def receive(self) -> bytes:
        """The answer to the last request; raises :class:`EnvironmentDiedError` if the worker has ended."""
        try:
            return self.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            raise self.died() from None

    def died(self) -> EnvironmentDiedError:
        """The error of a worker that has ended: what it was doing and its last output."""
        code = self._process.wait()
        return EnvironmentDiedError(
            f"a simulation process ended with exit code {code} during {self._doing}. (-9: killed, often "
            f"for lack of memory; {self._memory_hint}.) Its last output:\n{self._log_tail()}"
        )

    def hung(self, timeout_s: float) -> EnvironmentDiedError:
        """Kill a worker that has not answered in time; the error says what it was doing.

        It gets SIGUSR1 before, so that one with Python's ``faulthandler`` writes its stack into the log.
        """
        self._process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self.kill()
        self._process.wait()
        return EnvironmentDiedError(
            f"a simulation process did not answer within {timeout_s:g} s during {self._doing}, and was "
            f"killed. Its last output:\n{self._log_tail()}"
        )

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

    def _log_tail(self) -> str:
        """The end of the log of a process that has ended; while it runs, it writes where this would seek."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace")


def stop_workers(workers: Iterable[WorkerProcess]) -> None:
    """End workers: each may finish its request within :data:`STOP_TIMEOUT_S`."""
    workers = list(workers)
    for worker in workers:
        worker.hang_up()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for worker in workers:
        worker.stop(deadline)


def worker_environment(render_threads: int = 1) -> dict[str, str]:
    """Environment variables of a worker: this process's import path, one thread a numerical library.

    What the user has set stays. ``render_threads`` are those with which Mesa draws on a CPU.
    """
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(variable, "1")
    environment.setdefault("LP_NUM_THREADS", str(render_threads))
    return environment
