"""Beginning the next episodes while the policy is updated: settling, and the first images."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ttrl_env.replica_env import ReplicaVectorEnv


class ResetAhead:
    """An environment whose next reset may be begun early, in a thread of its own.

    A reset depends on its arguments alone, so an early one gives what a late one would. Its errors are raised
    when its result is asked for. Everything else is the environment's own; nothing else may be asked of its
    simulations in the meantime.
    """

    def __init__(self, env: ReplicaVectorEnv) -> None:
        self.env = env
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reset-ahead")
        self._begun: tuple[dict[str, Any], Future[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        """The environment's."""
        return getattr(self.env, name)

    def begin(self, options: dict[str, Any]) -> None:
        """Begin the reset that :meth:`reset` will be called for with equal ``options`` and no seed.

        Only if the simulations may be called from any thread, which an engine says by ``any_thread = True``.
        """
        if getattr(self.env.engine, "any_thread", False):
            self._begun = options, self._thread.submit(self.env.reset, options=options)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The environment's reset: the result of the one that was begun, if it is the same."""
        if self._begun is not None:
            (begun, future), self._begun = self._begun, None
            started = future.result()  # also if it is of no use: the simulations are busy until then
            if seed is None and options == begun:
                return started
        return self.env.reset(seed=seed, options=options)

    def close(self) -> None:
        """Wait for what was begun, and close the environment; safe to call twice."""
        self._thread.shutdown(wait=True)
        self.env.close()
