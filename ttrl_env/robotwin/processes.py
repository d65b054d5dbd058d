"""The worker processes of a RoboTwin engine: found, checked, started, watched, replaced."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ttrl_env.engines import shared_arrays
from ttrl_env.engines.worker_process import WorkerProcess, stop_workers, worker_environment
from ttrl_env.errors import EnvironmentDiedError, MissingDependencyError, UnsupportedVersionError
from ttrl_env.machine.cores import usable_cores
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.installation import PYTHONS, find_environment
from ttrl_env.robotwin.worker import protocol

PYTHON_VARIABLE = "TTRL_ROBOTWIN_PYTHON"
"""Environment variable that names the interpreter of the workers."""

CHECK_TIMEOUT_S = 120.0
"""Time that the interpreter gets to say which versions it has; a cold network disk can be slow."""

_SETUP = "`ttrl robotwin setup` makes one that has what is needed, which is then found by itself"

_START_WORKER = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "worker", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["worker"] = importlib.util.module_from_spec(spec)
from worker.__main__ import main
main(sys.argv[1:])
"""
"""Source of a worker process. It loads the folder :mod:`ttrl_env.robotwin.worker` as the package ``worker``,
and leaves the import path as it is: the folder above has modules that would shadow others."""

_VERSIONS = """
import importlib.metadata, json, platform, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in sys.argv[1:]}}))
"""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What workers play: :data:`RUNTIME`, unless a test has a simulation of its own."""

    factory: str
    """Dotted name, in the worker, of what makes a row's simulation of its settings."""
    distributions: tuple[str, ...]
    """Distributions that the interpreter must have."""
    pythons: tuple[str, ...]
    """Versions of Python that it may be."""
    folder: str = ""
    """Folder of the factory's module, if the interpreter does not find it by itself."""
    needs_assets: bool = False
    """Whether it plays with RoboTwin's assets, and draws with Vulkan."""


RUNTIME = Played(
    factory="worker.simulation:RoboTwinSimulation",
    distributions=("rlinf-robotwin-runtime", "sapien", "numpy"),
    pythons=PYTHONS,
    needs_assets=True,
)
"""RoboTwin's own environments."""


def find_python(python: str | None) -> str:
    """The interpreter of the workers: ``python``, what ``TTRL_ROBOTWIN_PYTHON`` names, or that of the
    environment that `ttrl robotwin setup` has made in the cache folder.

    Raises:
        MissingDependencyError: there is none of the three, or no such file.
    """
    name = "python" if python else PYTHON_VARIABLE
    path = python or os.environ.get(PYTHON_VARIABLE) or find_environment()
    if not path:
        raise MissingDependencyError(
            f"python: RoboTwin's runtime needs an interpreter of its own, of Python 3.10 or 3.11, and "
            f"neither env.robotwin.python nor {PYTHON_VARIABLE} names one. {_SETUP}"
        )
    path = os.path.expanduser(path)
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise MissingDependencyError(
            f"{name}: expected the path of a Python interpreter, got {path!r}. {_SETUP}"
        )
    return path


def check_python(python: str, played: Played) -> dict[str, str]:
    """Versions of the interpreter and of what a simulation needs, by name.

    Raises:
        MissingDependencyError: it does not run, or lacks a distribution.
        UnsupportedVersionError: its Python is too new or too old.
    """
    try:
        said = subprocess.run(
            [python, "-I", "-c", _VERSIONS, *played.distributions],
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
            check=True,
        ).stdout
        versions: dict[str, str | None] = json.loads(said)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip()[-2000:]
        raise MissingDependencyError(
            f"python: {python} does not run as a Python interpreter: {told}"
        ) from error
    if str(versions["python"]).rpartition(".")[0] not in played.pythons:
        raise UnsupportedVersionError(
            f"python: {python} is Python {versions['python']}; RoboTwin's runtime needs "
            f"{' or '.join(played.pythons)}. {_SETUP}"
        )
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise MissingDependencyError(f"python: {python} has no {', '.join(missing)}. {_SETUP}")
    return {name: version for name, version in versions.items() if version is not None}


class Workers:
    """An engine's worker processes. Row ``r`` belongs to number ``r % len``, so neighbours part."""

    def __init__(self, config: RoboTwinConfig, memory_fd: int, python: str, played: Played) -> None:
        """Start them; rows' simulations are made by the first reset."""
        self._config = config
        self._memory_fd = memory_fd
        self._python = python
        self._played = played
        cores = usable_cores()
        number = min(config.num_rows, config.num_workers or cores)
        self._environment = worker_environment(max(1, cores // number))
        self._number = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(number):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [worker.process.pid for worker in self._workers]

    def is_dead(self, row: int) -> bool:
        """Whether the worker of a row has ended, and its simulation with it."""
        return self._of(row).is_dead

    def find_dead(self) -> None:
        """Find out which workers have ended, or fail at what an earlier call has left them with.

        Where several fail at once, the call raises for the first of them. The others' answers are read here.
        """
        for worker in self._workers:
            worker.find_out()

    def replace_dead(self) -> None:
        """Start workers anew that have ended."""
        for index, worker in enumerate(self._workers):
            if worker.is_dead:
                stop_workers([worker.process])
                self._workers[index] = self._start()

    def ask(
        self, method: str, jobs: Mapping[int, Mapping[str, Any]], timeout_s: float, doing: Mapping[int, str]
    ) -> dict[int, Any]:
        """Have the workers do a method's jobs, all at once; one result a row.

        If one fails, or the caller is interrupted, the others go on with what they do. The next call waits
        for them, and discards their answers.

        Args:
            method: a method of :class:`ttrl_env.robotwin.worker.rows.Rows`.
            jobs: its arguments, by row.
            timeout_s: time for each row.
            doing: what each row's job is, for the error message.

        Raises:
            EnvironmentDiedError: a worker has failed, died, or not answered in time; it is dead then.
        """
        self._number += 1
        dealt: dict[int, list[int]] = {}
        for row in jobs:
            dealt.setdefault(row % len(self._workers), []).append(row)
        waiting: dict[Connection, tuple[_Worker, list[int]]] = {}
        for index, rows in dealt.items():
            worker = self._workers[index]
            request = {"number": self._number, "method": method}
            worker.send(
                {**request, "jobs": [{"row": row, **jobs[row]} for row in rows]},
                f"{method} of {'; '.join(doing[row] for row in rows)}",
                timeout_s * len(rows),
            )
            waiting[worker.process.connection] = worker, rows
        results: dict[int, Any] = {}
        while waiting:
            remaining = min(worker.deadline for worker, _ in waiting.values()) - time.monotonic()
            ready = wait(list(waiting), timeout=max(remaining, 0.0))
            for connection, (worker, rows) in list(waiting.items()):
                if connection in ready:
                    answers = worker.receive(self._number)
                    if answers is not None:
                        results.update(zip(rows, answers, strict=True))
                        del waiting[connection]
                elif time.monotonic() > worker.deadline:
                    raise worker.hung()
        return results

    def kill(self) -> None:
        """Kill all, so that a call under way ends."""
        for worker in self._workers:
            worker.process.kill()

    def close(self) -> None:
        """End all."""
        for worker in self._workers:
            worker.is_dead = True
        stop_workers(worker.process for worker in self._workers)

    def _of(self, row: int) -> _Worker:
        return self._workers[row % len(self._workers)]

    def _start(self) -> _Worker:
        folder = str(Path(protocol.__file__).parent)
        process = WorkerProcess(
            [self._python, "-I", "-u", "-c", _START_WORKER, folder],
            self._memory_fd,
            self._environment,
            arguments=[self._played.factory, self._played.folder],
            memory_hint="a RoboTwin process needs about 1 GB, more with several cameras",
        )
        layout = list(self._config.layout())
        opening = {
            "number": 0,
            "method": "open",
            "settings": asdict(self._config.settings),
            "num_bytes": shared_arrays.num_bytes(layout),
            "places": [
                {"key": key, "shape": shape, "dtype": dtype.str, "offset": offset}
                for key, shape, dtype, offset in shared_arrays.places(layout)
            ],
        }
        worker = _Worker(process)
        worker.send(opening, "starting", 0.0)
        return worker


class _Worker:
    """A process, the time until which it must answer, and whether it has ended."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.deadline = time.monotonic()
        self.is_dead = False
        self._timeout_s = 0.0
        self._owes_an_answer = False
        self._last_number = 0

    def send(self, message: dict[str, Any], doing: str, timeout_s: float) -> None:
        """Send a request. Its time begins once that of an earlier one, which nobody waited for, is over."""
        now = time.monotonic()
        self.deadline = (max(now, self.deadline) if self._owes_an_answer else now) + timeout_s
        self._timeout_s = self.deadline - now
        self._owes_an_answer = True
        self._last_number = message["number"]
        with self._dead_unless_done():
            self.process.send(protocol.encode(message), doing)

    def receive(self, number: int) -> list[Any] | None:
        """The results of a request, or ``None`` if this was the answer to an earlier one."""
        with self._dead_unless_done():
            answer = protocol.decode(self.process.receive())
            if "error" in answer:
                raise EnvironmentDiedError(f"a RoboTwin simulation failed {answer['error']}")
        if answer["number"] != number:
            return None
        self._owes_an_answer = False
        return answer["results"]

    def find_out(self) -> None:
        """Wait for the answer that it still owes, which nobody needs, to know whether it can go on."""
        if self._last_number == 0:
            return  # it has only been started; whether that has worked is for the first request to say
        with contextlib.suppress(EnvironmentDiedError):  # the call that gave it this work has raised already
            while self._owes_an_answer and not self.is_dead:
                if not self.process.connection.poll(max(self.deadline - time.monotonic(), 0.0)):
                    raise self.hung()
                self.receive(self._last_number)
        self.is_dead = self.is_dead or self.process.has_ended

    def hung(self) -> EnvironmentDiedError:
        """Kill it because it has not answered in time; the error says so."""
        self.is_dead = True
        return self.process.hung(self._timeout_s)

    @contextlib.contextmanager
    def _dead_unless_done(self) -> Iterator[None]:
        """Kill the process if the context raises: half a message would be taken for the next one."""
        try:
            yield
        except BaseException:
            self.is_dead = True
            self.process.kill()
            raise
