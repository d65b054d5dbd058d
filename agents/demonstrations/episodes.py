"""Demonstrated episodes, and the training pairs they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttrl_env.checks import check_positive_int
from ttrl_env.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One successful episode of ``T`` policy steps."""

    observations: dict[str, NDArray]
    """The environment's observation before each step, every array with first axis ``T``: images uint8
    ``[T, H, W, 3]`` in the raw orientation (upside down) and the ``robot0_*`` keys in float32."""
    actions: NDArray[np.float32]
    """``[T, 7]`` what the expert wanted to do, without the noise."""
    success: bool
    """Whether the last step solved the task: true of every episode that is kept."""
    init_state_id: int
    """The initial state it started from, one of the train split."""

    def __len__(self) -> int:
        """``T``."""
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """``M`` training pairs for a policy that predicts ``chunk_steps`` actions from one observation."""

    observations: dict[str, NDArray]
    """As in :class:`Demonstration`, first axis ``M``."""
    actions: NDArray[np.float32]
    """``[M, chunk_steps, 7]`` the action of the observation's step and of those that follow."""
    mask: NDArray[np.bool_]
    """``[M, chunk_steps]`` false where the episode had ended and its last action is repeated."""
    episode: NDArray[np.int64]
    """``[M]`` which demonstration a pair comes from."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Successful episodes of one task."""

    task: Task
    episodes: tuple[Demonstration, ...]
    attempts: int
    """How many episodes were played to get them."""
    noise: float
    """Standard deviation of the noise in the executed actions."""
    seed: int

    @property
    def instruction(self) -> str:
        """What a policy is told to do in every episode."""
        return self.task.instruction

    @property
    def num_steps(self) -> int:
        """Steps of all episodes together."""
        return sum(len(episode) for episode in self.episodes)

    def chunks(self, chunk_steps: int) -> Chunks:
        """The training pair of every step of every episode, episode after episode.

        Chunks that reach past an episode's end repeat its last action. Success ends an episode, so a
        policy gets that far only if it lags behind the demonstration, and then carrying on is right,
        where standing still could keep it from ever finishing.
        """
        steps = np.arange(check_positive_int("chunk_steps", chunk_steps))
        mask = [np.arange(len(each))[:, None] + steps < len(each) for each in self.episodes]
        keys = self.episodes[0].observations
        return Chunks(
            observations={
                key: np.concatenate([each.observations[key] for each in self.episodes]) for key in keys
            },
            actions=np.concatenate([action_chunks(each.actions, chunk_steps) for each in self.episodes]),
            mask=np.concatenate(mask),
            episode=np.repeat(np.arange(len(self.episodes)), [len(each) for each in self.episodes]),
        )


def action_chunks(actions: NDArray[np.float32], chunk_steps: int) -> NDArray[np.float32]:
    """``[T, chunk_steps, 7]`` of ``[T, 7]``: each step's action and those after it, the last repeated."""
    at = np.arange(len(actions))[:, None] + np.arange(chunk_steps)
    return actions[np.minimum(at, len(actions) - 1)]
