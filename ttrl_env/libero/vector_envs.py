"""LIBERO's ``SubprocVectorEnv`` and ``DummyVectorEnv`` without processes.

Environments on the native engine are all in this process. Those of one task share its model, meshes and
textures, and step at the same time in the engine's threads. What the classes return is put together by
LIBERO's own code, from which they derive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import numpy as np

from ttrl_env.libero import upstream
from ttrl_env.libero.control_env import ControlEnv
from ttrl_env.libero.fallback import NeedsUpstreamError, announce_fallback, refusing_fallbacks
from ttrl_env.libero.observation import Batch, Observation


class ThreadWorker(upstream.venv.DummyEnvWorker):  # type: ignore[misc]
    """An environment in this process; those on the native engine step in threads."""

    def __init__(self, env_fn: Callable[[], Any]) -> None:
        with self._generator():
            super().__init__(env_fn)
        self._pending: Future[Any] = Future()

    def send(self, action: Any, **kwargs: Any) -> None:
        """Begin a step, or reset if ``action`` is ``None``; :meth:`recv` gives the result."""
        if action is not None and isinstance(self.env, ControlEnv) and self.env.is_native:
            self._pending = self.env.start_step(action)
            return
        self._pending = Future()
        with self._generator():
            super().send(action, **kwargs)
        self._pending.set_result(self.result)

    def recv(self) -> Any:
        """The result of the last :meth:`send`."""
        return self._pending.result()

    @staticmethod
    def wait(
        workers: Sequence[ThreadWorker], wait_num: int, timeout: float | None = None
    ) -> list[ThreadWorker]:
        """The workers that are ready, when at least ``wait_num`` are or ``timeout`` (seconds) has passed."""
        waiting = {worker._pending for worker in workers}
        ready: set[Future[Any]] = set()
        while waiting and len(ready) < wait_num:
            done, waiting = wait(waiting, timeout=timeout, return_when=FIRST_COMPLETED)
            ready |= done
            if not done:
                break
        return [worker for worker in workers if worker._pending in ready]

    @contextlib.contextmanager
    def _generator(self) -> Iterator[None]:
        """Context in which the environment may draw from NumPy's global generator: here the process's own."""
        yield


class SeparateWorker(ThreadWorker):
    """An environment that draws from a NumPy generator of its own, as if it were in a process of its own.

    As in a forked process, that starts as a copy of this process's.
    """

    def __init__(self, env_fn: Callable[[], Any]) -> None:
        self._state = np.random.get_state()
        super().__init__(env_fn)
        if isinstance(self.env, upstream.ControlEnv) and not getattr(self.env, "is_native", False):
            self.env.close()
            raise NeedsUpstreamError([type(self.env).__name__])

    def get_env_attr(self, key: str) -> Any:
        """An attribute of the environment; ``None`` if it has none of this name."""
        return getattr(self.env, key, None)

    def set_env_attr(self, key: str, value: Any) -> None:
        """Set an attribute of the environment."""
        setattr(getattr(self.env, "unwrapped", self.env), key, value)

    def seed(self, seed: int | None = None) -> Any:
        """Seed the environment's generator."""
        with self._generator():
            return super().seed(seed)

    def reset(self, **kwargs: Any) -> Any:
        """Reset the environment."""
        with self._generator():
            return super().reset(**kwargs)

    def render(self, **kwargs: Any) -> Any:
        """What the environment's ``render`` returns; ``None`` if it has none."""
        return self.env.render(**kwargs) if hasattr(self.env, "render") else None

    @contextlib.contextmanager
    def _generator(self) -> Iterator[None]:
        outside = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(outside)


class _Batching:
    """Joins the observations that one call returns, so that their images are rendered together."""

    _eager: set[str]

    def reset(self, id: Any = None, **kwargs: Any) -> Any:
        """Reset environments, all or those of ``id``; returns an object array of observations."""
        return self._joined(super().reset(id, **kwargs))  # type: ignore[misc]

    def step(self, action: Any, id: Any = None) -> Any:
        """Step environments, all or those of ``id``, each with its row of ``action``.

        Returns arrays of observations (objects), rewards (float64), dones (bool) and infos (objects).
        """
        return self._joined(super().step(action, id))  # type: ignore[misc]

    def set_init_state(self, init_state: Any = None, id: Any = None, **kwargs: Any) -> Any:
        """Put environments, all or those of ``id``, at the rows of ``init_state``; returns observations."""
        return self._joined(super().set_init_state(init_state, id, **kwargs))  # type: ignore[misc]

    def _joined(self, returned: Any) -> Any:
        observations = returned[0] if isinstance(returned, tuple) else returned
        ours = [each for each in observations if isinstance(each, Observation)]
        if ours:
            Batch([each.reading for each in ours], self.__dict__.setdefault("_eager", set()))
        return returned


class DummyVectorEnv(_Batching, upstream.DummyVectorEnv):  # type: ignore[misc]
    """LIBERO's ``DummyVectorEnv``; environments on the native engine step at the same time, in threads.

    All environments draw from the process's NumPy generator, as LIBERO's do.
    """

    def __init__(self, env_fns: Sequence[Callable[[], Any]], **kwargs: Any) -> None:
        """Build the environments.

        Args:
            env_fns: functions that each build an environment.
            kwargs: LIBERO's ``wait_num`` and ``timeout``.
        """
        upstream.venv.BaseVectorEnv.__init__(self, env_fns, ThreadWorker, **kwargs)


class SubprocVectorEnv(_Batching, upstream.SubprocVectorEnv):  # type: ignore[misc]
    """LIBERO's ``SubprocVectorEnv`` for environments on the native engine: threads instead of processes.

    Each environment draws from a NumPy generator of its own, as in a process of its own. If an environment is
    not covered by the native engine, all run in LIBERO's processes, with a
    :class:`~ttrl_env.libero.warnings.FallbackWarning`. An environment's error is raised in the caller.
    """

    def __init__(self, env_fns: Sequence[Callable[[], Any]], **kwargs: Any) -> None:
        """Build the environments; see :class:`DummyVectorEnv`."""
        before = np.random.get_state()
        try:
            with refusing_fallbacks():
                upstream.venv.BaseVectorEnv.__init__(self, env_fns, SeparateWorker, **kwargs)
        except NeedsUpstreamError as error:
            np.random.set_state(before)
            announce_fallback(error.reasons, stacklevel=2)
            super().__init__(env_fns, **kwargs)
