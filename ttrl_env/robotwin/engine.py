"""The RoboTwin engine: rows played by worker processes of the interpreter that has the runtime."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.engines import shared_arrays
from ttrl_env.engines.interface import ChunkResult, Observations
from ttrl_env.engines.requests import check_reset, check_started
from ttrl_env.errors import (
    EnvironmentClosedError,
    EnvironmentDiedError,
    ForkedProcessError,
    NoStableSeedError,
    StartsDifferError,
)
from ttrl_env.robotwin.checkup import check_objects, require_device_and_assets
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.processes import RUNTIME, Played, Workers, check_python, find_python
from ttrl_env.robotwin.seeds import MAX_TRIES, UnstableSeeds
from ttrl_env.robotwin.worker.interface import State

_CLOSED = "the engine is closed; make a new environment"


class _Began(NamedTuple):
    """What a worker says of a reset; equal for equal task and seed."""

    instruction: str
    digest: str


_UNSTABLE = _Began("", "unstable")


class RoboTwinEngine:
    """Resets rows to RoboTwin's tasks, executes chunks of joint targets, and reports success.

    It has the methods of :class:`ttrl_env.engines.interface.ReplicaEngine`, with actions of 14 numbers.
    ``config.num_workers`` processes share the rows. A row's simulation is made by its first reset.

    All rows that play one task and one initial state start bitwise identical, whenever they are reset. Their
    workers send digests of joint positions and object poses, which must be equal; otherwise
    :class:`StartsDifferError` is raised.

    If a worker raises, dies or does not answer in time, the call raises :class:`EnvironmentDiedError` with
    the tasks and seeds it played and its last output. The rows of the call, and all of the worker's rows,
    must then be reset. That reset starts a new worker; other workers keep their simulations. After an
    interrupt too, the rows of the call must be reset. Workers end with this process, even if it is killed.
    """

    any_thread = True
    """Simulations run in processes of their own, whichever thread asks for them."""

    def __init__(self, config: RoboTwinConfig, *, played: Played | None = None) -> None:
        """Check the interpreter, the Vulkan device and the assets, and start the workers.

        Args:
            config: settings.
            played: what the workers play; default RoboTwin's runtime. Tests have a stand-in.
        """
        self.config = config
        played = played or RUNTIME
        self._python = python = find_python(config.python)
        self.versions = check_python(python, played)
        """Versions of the workers' interpreter and of what they play, by name."""
        self._assets: Path | None = None
        if played.needs_assets:
            self._assets = require_device_and_assets(python, config.assets, config.task_config)
            self.config = config = replace(config, assets=str(self._assets))
        self._unstable = UnstableSeeds(
            {**self.versions, "task_config": config.task_config, "assets": config.assets or ""}
        )
        self.observations: Observations
        """Arrays of ``num_rows`` rows, refreshed in place; see :mod:`ttrl_env.robotwin.worker.layout`."""
        self.observations, fd = shared_arrays.create(config.layout())
        self.instructions = [""] * config.num_rows
        """What each row is told in its episode."""
        self.seeds: NDArray[np.int64] = np.full(config.num_rows, -1, np.int64)
        """The runtime's seed of each row's episode; -1 before the first reset."""
        self._playing: dict[int, str] = {}  # by row, while its simulation can go on
        self._lost: set[int] = set()  # rows that a failed call has left without a start
        self._starts: dict[tuple[str, int], _Began] = {}  # by task and seed, as first seen
        self._closed = False
        self._turn = threading.RLock()
        self._pid = os.getpid()
        try:
            self._workers = Workers(config, fd, python, played)
        except BaseException:
            os.close(fd)
            raise
        self._when_dropped = weakref.finalize(self, _end, self._workers, fd, self._pid)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        """Put ``rows[k]`` at initial state ``init_state_ids[k]`` of task ``task_ids[k]``.

        The state's seed is the first stable one of :func:`ttrl_env.robotwin.seeds.candidate_seeds`.

        Raises:
            MissingDependencyError: the assets lack objects of a task.
            StartsDifferError: rows of one task and state do not start alike.
            NoStableSeedError: no seed of a state is stable.
            EnvironmentDiedError: see the class.
        """
        check_reset(self.config, rows, task_ids, init_state_ids)
        names = [tasks.get_task(self.config.suite, task_id).name for task_id in task_ids]
        if self._assets is not None:
            check_objects(self._assets, self._python, names)
        with self._taking_turns(), self._lost_unless_done(rows):
            self._workers.find_dead()
            self._lose_dead()
            self._workers.replace_dead()
            waiting = dict(zip(rows, zip(names, init_state_ids, strict=True), strict=True))
            while waiting:
                waiting = self._begin(waiting)

    def step(
        self, rows: Sequence[int], actions: NDArray[np.float64], max_steps: Sequence[int]
    ) -> ChunkResult:
        """Execute ``actions[k]`` (``[n, chunk_steps, 14]``) on ``rows[k]``, open loop.

        A row stops at success, when its simulation fails, or after ``max_steps[k]`` actions (at least 1).
        Other rows are neither simulated nor rendered.
        """
        jobs = {
            row: {"actions": chunk[:limit].tolist(), "max_steps": int(limit)}
            for row, chunk, limit in zip(rows, actions, max_steps, strict=True)
        }
        with self._taking_turns():
            self._require_playing(rows)
            with self._lost_unless_done(rows):
                results = self._workers.ask("step", jobs, self.config.step_timeout_seconds, self._playing)
        return ChunkResult(
            executed_steps=np.array([results[row]["executed_steps"] for row in rows], dtype=np.int64),
            success=np.array([results[row]["success"] for row in rows], dtype=np.bool_),
            failure=[results[row]["failure"] for row in rows],
        )

    def state(self, row: int) -> State:
        """The physical state of one row."""
        with self._taking_turns():
            self._require_playing([row])
            timeout = self.config.step_timeout_seconds
            with self._lost_unless_done([]):
                return State(**self._workers.ask("state", {row: {}}, timeout, self._playing)[row])

    def close(self) -> None:
        """End the worker processes; safe to call twice, and in any thread.

        If another thread is in a call meanwhile, that call raises :class:`EnvironmentClosedError`.
        """
        if os.getpid() != self._pid:
            return  # after a fork: the workers are the parent's
        self._closed = True
        if not self._turn.acquire(blocking=False):
            self._workers.kill()  # so that the call under way ends
            self._turn.acquire()
        try:
            self._when_dropped()
        finally:
            self._turn.release()

    def _begin(self, waiting: Mapping[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
        """Try the next seed of each row's task and state; returns the rows whose seed proved unstable."""
        seeds = {row: self._seed(task, state) for row, (task, state) in waiting.items()}
        jobs = {row: {"task": task, "seed": seeds[row]} for row, (task, _) in waiting.items()}
        doing = {row: f"row {row}: {job['task']}, seed {job['seed']}" for row, job in jobs.items()}
        results = self._workers.ask("reset", jobs, self.config.reset_timeout_seconds, doing)
        again = {}
        for row, (task, state) in waiting.items():
            result = results[row]
            began = _UNSTABLE if "unstable" in result else _Began(result["instruction"], result["digest"])
            self._require_same_start(row, task, seeds[row], began)
            if began is _UNSTABLE:
                self._unstable.add(task, seeds[row])
                again[row] = task, state
            else:
                self.instructions[row], self.seeds[row] = began.instruction, seeds[row]
                self._playing[row] = doing[row]
                self._lost.discard(row)
        return again

    def _seed(self, task: str, init_state_id: int) -> int:
        seed = self._unstable.first_stable(task, init_state_id)
        if seed is None:
            raise NoStableSeedError(
                f"init_state_ids: state {init_state_id} of {task} has no stable seed among {MAX_TRIES}; "
                f"choose another state. {self._unstable.where}"
            )
        return seed

    def _require_same_start(self, row: int, task: str, seed: int, began: _Began) -> None:
        first = self._starts.setdefault((task, seed), began)
        if began != first:
            raise StartsDifferError(
                f"row {row} does not start {task}, seed {seed}, as it was started before: digest and "
                f"instruction are {began.digest} {began.instruction!r}, and were {first.digest} "
                f"{first.instruction!r}. Rows of one initial state must start bitwise identical; the "
                f"runtime's physics is not deterministic on this machine"
            )

    @contextlib.contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Make other threads' calls wait."""
        self._require_usable()
        with self._turn:
            self._require_usable()
            yield

    @contextlib.contextmanager
    def _lost_unless_done(self, rows: Sequence[int]) -> Iterator[None]:
        """If the context raises, ``rows`` and the rows of workers that have died must be reset."""
        try:
            yield
        except BaseException as error:
            self._lose(rows)
            self._lose_dead()
            if self._closed and isinstance(error, EnvironmentDiedError):
                raise EnvironmentClosedError(_CLOSED) from None  # another thread closed it meanwhile
            raise

    def _lose_dead(self) -> None:
        self._lose([row for row in self._playing if self._workers.is_dead(row)])

    def _lose(self, rows: Sequence[int]) -> None:
        """Have ``rows`` wait for a reset."""
        for row in rows:
            self._playing.pop(row, None)
            self._lost.add(row)

    def _require_usable(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedProcessError(
                "the environment was made before this process was forked, and its workers answer the other "
                "process; make it in the process that uses it"
            )
        if self._closed:
            raise EnvironmentClosedError(_CLOSED)

    def _require_playing(self, rows: Sequence[int]) -> None:
        lost = sorted(self._lost.intersection(rows))
        if lost:
            raise ResetNeeded(f"a call that failed or was interrupted left rows {lost} halfway; reset them")
        check_started(rows, self._playing)


def _end(workers: Workers, memory_fd: int, pid: int) -> None:
    """Stop an engine's workers, on ``close()`` or garbage collection."""
    if os.getpid() != pid:
        return  # after a fork: the workers are the parent's
    workers.close()
    os.close(memory_fd)
