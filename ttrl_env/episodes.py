"""The running episode of every row: its steps, its end, and its entries in ``infos``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ttrl_env.engines.interface import ChunkResult


class Episodes:
    """Per-row episode records, each an array ``[num_envs]``."""

    def __init__(self, num_envs: int) -> None:
        """Start without episodes: every row needs a reset."""
        self.index = np.full(num_envs, -1, dtype=np.int64)
        """Number of the row's episode since its seeding, from 0; -1 before the first reset."""
        self.init_state_id = np.full(num_envs, -1, dtype=np.int64)
        self.finish_step = np.zeros(num_envs, dtype=np.int64)
        """Policy steps executed so far, settle steps excluded."""
        self.success = np.zeros(num_envs, dtype=np.bool_)
        self.terminated = np.zeros(num_envs, dtype=np.bool_)
        self.truncated = np.zeros(num_envs, dtype=np.bool_)
        self.failure = np.full(num_envs, None, dtype=object)
        """Why the row's simulation diverged, else ``None``."""

        self.lost = np.zeros(num_envs, dtype=np.bool_)
        """Rows whose records may differ from their simulation after an error; they must be reset."""

    @property
    def finished(self) -> NDArray[np.bool_]:
        """``[num_envs]`` rows without a running episode: it has ended, or they were never reset."""
        return self.terminated | self.truncated | (self.index < 0)

    def begin(self, rows: NDArray[np.int64], index: NDArray[np.int64], init_state_id: list[int]) -> None:
        """Record that ``rows`` start an episode."""
        self.index[rows] = index
        self.init_state_id[rows] = init_state_id
        self.finish_step[rows] = 0
        self.success[rows] = self.terminated[rows] = self.truncated[rows] = self.lost[rows] = False
        self.failure[rows] = None

    def advance(self, rows: NDArray[np.int64], result: ChunkResult, max_steps: int) -> None:
        """Record a chunk of ``rows``: success terminates, the horizon or a divergence truncates."""
        self.finish_step[rows] += result.executed_steps
        self.failure[rows] = result.failure
        failed = np.array([reason is not None for reason in result.failure], dtype=np.bool_)
        self.success[rows] = self.terminated[rows] = result.success & ~failed
        self.truncated[rows] = ~self.terminated[rows] & (failed | (self.finish_step[rows] >= max_steps))

    @contextmanager
    def lost_unless_done(
        self, rows: NDArray[np.int64], refused: type[Exception] | None = None
    ) -> Iterator[None]:
        """Context that marks ``rows`` as lost if it ends in an error or interrupt other than ``refused``."""
        try:
            yield
        except BaseException as error:
            if refused is None or not isinstance(error, refused):
                self.lost[rows] = True
            raise

    def infos(self) -> dict[str, NDArray[Any]]:
        """The entries of ``infos`` that every row has, as copies."""
        return {
            **success_infos(self.success),
            "finish_step": self.finish_step.copy(),
            "init_state_id": self.init_state_id.copy(),
            "episode_index": self.index.copy(),
        }

    def failure_infos(self, rows: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """``failure`` and the mask of the rows that have one, among ``rows``; empty if none has.

        Left out, as libraries such as TorchRL cannot make a tensor of an array of ``None``.
        """
        failed = rows & np.array([reason is not None for reason in self.failure], dtype=np.bool_)
        if not failed.any():
            return {}
        return {"failure": self.failure.copy(), "_failure": failed}


def success_infos(success: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Success under Gymnasium's usual name, and under the one that Stable-Baselines3 and LeRobot read."""
    return {"success": success.copy(), "is_success": success.copy()}


def failures(infos: Mapping[str, Any], num_envs: int) -> NDArray[Any]:
    """Why each row's simulation diverged by a vector environment's infos: ``[num_envs]`` text or ``None``."""
    return np.asarray(infos.get("failure", np.full(num_envs, None)), dtype=object)


def require_known(lost: NDArray[np.bool_]) -> None:
    """Raise :class:`gymnasium.error.ResetNeeded` if any row is ``lost`` (``[num_envs]`` bool)."""
    if lost.any():
        raise ResetNeeded(
            f"step: an earlier call was interrupted or failed, so the episodes of rows "
            f"{np.flatnonzero(lost).tolist()} cannot go on; call reset() for them"
        )
