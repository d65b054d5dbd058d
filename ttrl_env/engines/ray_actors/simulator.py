"""What runs in a Ray actor: an engine of its own, for whichever rows it is asked to simulate.

Every method takes rows by their numbers in the whole environment. It returns an answer for each of them, and
their observations in the same order. Ray writes these arrays into the shared memory of its node.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines.interface import EngineConfig, Observations, SimulationEngine
from ttrl_env.engines.ray_actors.versions import describe_node
from ttrl_env.errors import UnsupportedVersionError

EngineMaker: TypeAlias = Callable[[EngineConfig], SimulationEngine]

Answers: TypeAlias = tuple[list[Any], Observations]
"""An answer for each row of a request, and the rows' observations."""


def native_engine(config: EngineConfig) -> SimulationEngine:
    """The engine that actors simulate with unless they are given another."""
    from ttrl_env.engines.native.engine import NativeEngine

    return NativeEngine(config)


def digest_of_init_states(suite: str, task_id: int) -> str:
    """A digest of a task's initial states, as this process's LIBERO has them."""
    return hashlib.sha256(libero_tasks.init_states(suite, task_id).tobytes()).hexdigest()


class Simulator:
    """An engine behind Ray's calls, which it executes one after the other."""

    def __init__(self, config: EngineConfig, make_engine: EngineMaker) -> None:
        """Make the engine, for all of the environment's rows: simulations exist only for those it plays."""
        os.environ.update(config.ray.env_vars)  # before MuJoCo and LIBERO are imported
        self._config = config
        self._received: dict[str, list[NDArray[np.uint8]]] = {}
        self._engine = make_engine(replace(config, num_workers=config.ray.threads_per_actor))

    def describe(self) -> dict[str, str]:
        """See :func:`~ttrl_env.engines.ray_actors.versions.describe_node`."""
        return describe_node()

    def lacks(self, task_id: int, bundle: str, init_states: str) -> bool:
        """Whether a copy of the driver's compiled task would spare this actor from compiling it.

        Args:
            task_id: the task.
            bundle: the name of the driver's bundle. It is of no use here if LIBERO's files differ.
            init_states: digest of the driver's initial states, from which the rows must start here too.
        """
        from ttrl_env.engines.native.task.locations import bundle_folder, is_whole

        if digest_of_init_states(self._config.suite, task_id) != init_states:
            raise UnsupportedVersionError(
                f"engine='ray': node {describe_node()['node']} has other initial states of "
                f"{self._config.suite} task {task_id} than this process; install the same LIBERO there"
            )
        self._received.clear()  # of a driver that was interrupted
        place = bundle_folder(libero_tasks.get_task(self._config.suite, task_id), self._config.fixture_seed)
        return place.name == bundle and not is_whole(place)

    def receive(self, name: str, part: NDArray[np.uint8]) -> None:
        """Take the next part of a file of the driver's bundle."""
        self._received.setdefault(name, []).append(part.copy())  # a view would stay in the object store

    def keep(self, task_id: int) -> None:
        """Write the received files into this node's cache."""
        from ttrl_env.engines.native.task.files import keeping, write_files
        from ttrl_env.engines.native.task.locations import bundle_folder

        place = bundle_folder(libero_tasks.get_task(self._config.suite, task_id), self._config.fixture_seed)
        files = {name: np.concatenate(parts) for name, parts in self._received.items()}
        self._received.clear()
        with keeping(place):
            write_files(place, files)

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> Answers:
        """Reset rows, as an engine does."""
        self._engine.reset(rows, task_ids, init_state_ids)
        return [None] * len(rows), self._observations(rows)

    def step(
        self, rows: Sequence[int], actions: Sequence[NDArray[np.float64]], max_steps: Sequence[int]
    ) -> Answers:
        """Execute chunks; an answer is the executed steps, success, and the failure or ``None``."""
        result = self._engine.step(rows, np.stack(actions), max_steps)
        outcomes = zip(result.executed_steps.tolist(), result.success.tolist(), result.failure, strict=True)
        return list(outcomes), self._observations(rows)

    def replay(
        self,
        rows: Sequence[int],
        task_ids: Sequence[int],
        init_state_ids: Sequence[int],
        actions: Sequence[NDArray[np.float64]],
    ) -> Answers:
        """Bring rows to where ``actions[k]`` ``[n_k, 7]`` have led them; an answer is the executed steps.

        States do not depend on how actions are divided into chunks, so each row executes one.
        """
        self._engine.reset(rows, task_ids, init_state_ids)
        executed = dict.fromkeys(rows, 0)
        moved = [k for k, played in enumerate(actions) if len(played)]
        if moved:
            lengths = [len(actions[k]) for k in moved]
            chunks = np.zeros((len(moved), max(lengths), actions[moved[0]].shape[-1]))
            for chunk, k in zip(chunks, moved, strict=True):
                chunk[: len(actions[k])] = actions[k]
            mine = [rows[k] for k in moved]
            result = self._engine.step(mine, chunks, lengths)
            executed.update(zip(mine, result.executed_steps.tolist(), strict=True))
        return [executed[row] for row in rows], self._observations(rows)

    def state(self, rows: Sequence[int]) -> Answers:
        """The physical states of rows."""
        return [self._engine.state(row) for row in rows], {}

    def _observations(self, rows: Sequence[int]) -> Observations:
        """The rows of the engine's arrays; without a copy if they are neighbours, as rows of a group are."""
        picked = neighbours(rows)
        return {key: array[picked] for key, array in self._engine.observations.items()}


def neighbours(rows: Sequence[int]) -> slice | list[int]:
    """An index of ``rows``: a slice if each is the one after the last."""
    first, count = rows[0], len(rows)
    if list(rows) == list(range(first, first + count)):
        return slice(first, first + count)
    return list(rows)
