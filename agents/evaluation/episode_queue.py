"""Plays a list of episodes on the rows of an environment. A row whose episode ends starts the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.policies.lockstep import Lockstep, Rows
from ttrl_env.agents.policies.protocol import PlayedPolicy, action_dim, tokens_per_chunk
from ttrl_env.checks import check_positive_int
from ttrl_env.episodes import failures
from ttrl_env.errors import TrainingDivergedError
from ttrl_env.replica_env import ReplicaVectorEnv


@dataclass(frozen=True, kw_only=True, order=True)
class EpisodeStart:
    """Identifies an episode. Together with the seed it determines the episode's random numbers."""

    task_id: int
    init_state_id: int
    repeat: int = 0
    """Index of the episode among those that start from this state."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One evaluated episode."""

    task_id: int
    init_state_id: int
    repeat: int
    success: bool
    finish_step: int
    """Executed policy steps."""
    failure: str | None = None
    """Why the simulation diverged; ``None`` if it did not. A diverged episode counts as a failure."""

    @property
    def start(self) -> EpisodeStart:
        """The task, initial state and repeat of this episode."""
        return EpisodeStart(task_id=self.task_id, init_state_id=self.init_state_id, repeat=self.repeat)


@torch.no_grad()
def play_episodes(
    env: ReplicaVectorEnv,
    lockstep: Lockstep[PlayedPolicy],
    starts: Iterable[EpisodeStart],
    *,
    temperature: float,
    seed: int,
    on_episode: Callable[[Episode], None],
    rows_at_once: int = 0,
) -> None:
    """Play every episode of ``starts`` and call ``on_episode`` as each ends.

    An episode's tokens depend on ``seed`` and its :class:`EpisodeStart`, not on its row or the number of
    rows.

    Args:
        env: an environment with ``n_samples=1`` and autoreset DISABLED.
        lockstep: the policy, greedy at ``temperature`` 0. Other processes play other episodes of the same
            evaluation at the same time.
        starts: the episodes.
        temperature: sampling temperature.
        seed: seed of the token sampling.
        on_episode: called with each finished episode, in the order in which they end.
        rows_at_once: rows in one forward pass of the policy, which bounds its memory; 0: all.
    """
    queue = _Queue(env, lockstep, starts, temperature, seed, rows_at_once)
    observations = queue.refill()
    while (actions := queue.act(observations)) is not None:
        if not queue.rows:  # only other processes still have episodes under way
            continue
        observations, _, terminations, truncations, infos = env.step(actions)
        ended = [row for row in queue.rows if terminations[row] or truncations[row]]
        for row in ended:
            start = queue.rows.pop(row).start
            on_episode(
                Episode(
                    task_id=start.task_id,
                    init_state_id=start.init_state_id,
                    repeat=start.repeat,
                    success=bool(infos["success"][row]),
                    finish_step=int(infos["finish_step"][row]),
                    failure=failures(infos, env.num_envs)[row],
                )
            )
        if ended:
            observations = queue.refill() or observations


def token_seeds(seed: int, start: EpisodeStart) -> np.random.Generator:
    """Random generator of an episode's seeds: each chunk takes ``K`` int64 below ``2**63``, one a token."""
    return np.random.default_rng([seed, start.task_id, start.init_state_id, start.repeat])


def sample_chunks(
    lockstep: Lockstep[PlayedPolicy],
    observations: dict[str, NDArray[Any]],
    instructions: Sequence[str],
    passes: Sequence[Rows | None],
    temperatures: NDArray[np.float32],
    generators: Mapping[int, np.random.Generator],
) -> NDArray[np.float64]:
    """Sample the next chunk of every row in ``passes``: ``[num_envs, chunk_steps, action_dim]``, 0 elsewhere.

    All arguments are indexed by the rows of an environment. ``generators`` has one generator for each row in
    ``passes``.
    """
    policy = lockstep.policy
    num_tokens = tokens_per_chunk(policy)
    seeds = np.zeros((len(instructions), num_tokens), dtype=np.int64)
    for row, generator in generators.items():
        seeds[row] = generator.integers(2**63, size=num_tokens)
    sampled = lockstep.sample(
        observations, instructions, passes, torch.from_numpy(temperatures), torch.from_numpy(seeds)
    )
    if not all(bool(part.valid.all()) for _, part in sampled):
        raise TrainingDivergedError(
            "the policy's logits are NaN or infinite: this checkpoint is broken, evaluate an earlier one"
        )
    actions = np.zeros((len(instructions), policy.chunk_steps, action_dim(policy)))
    for rows, (_, part) in zip(passes, sampled, strict=False):
        actions[rows] = policy.decode(part.tokens.cpu())
    return actions


@dataclass(frozen=True)
class _Running:
    """A row's episode under way, and the generator of its seeds."""

    start: EpisodeStart
    generator: np.random.Generator


class _Queue:
    """The waiting episodes, and those under way in each row."""

    def __init__(
        self,
        env: ReplicaVectorEnv,
        lockstep: Lockstep[PlayedPolicy],
        starts: Iterable[EpisodeStart],
        temperature: float,
        seed: int,
        rows_at_once: int,
    ) -> None:
        self._env, self._lockstep, self._seed = env, lockstep, seed
        self._rows_at_once = check_positive_int("rows_at_once", rows_at_once, minimum=0)
        self._waiting = deque(starts)
        self._temperatures = np.full(env.num_envs, temperature, dtype=np.float32)
        self._task_ids = env.task_ids.tolist()
        self._instructions = [""] * env.num_envs  # an environment may have none before its first reset
        self.rows: dict[int, _Running] = {}

    def refill(self) -> dict[str, NDArray[Any]]:
        """Start waiting episodes in all idle rows. Returns the observations; empty if no episode started."""
        mask = np.zeros(self._env.num_envs, dtype=np.bool_)
        states = [0] * self._env.num_envs
        for row in range(self._env.num_envs):
            if row in self.rows or not self._waiting:
                continue
            start = self._waiting.popleft()
            self.rows[row] = _Running(start, token_seeds(self._seed, start))
            self._task_ids[row], states[row], mask[row] = start.task_id, start.init_state_id, True
        if not mask.any():
            return {}
        options = {"task_ids": self._task_ids, "init_state_ids": states, "reset_mask": mask}
        observations, _ = self._env.reset(options=options)
        self._instructions = list(self._env.instructions)
        return observations

    def act(self, observations: dict[str, NDArray[Any]]) -> NDArray[np.float64] | None:
        """Actions of all rows for ``env.step``, zero in idle rows; ``None`` once every process is done."""
        passes = self._lockstep.passes(sorted(self.rows), self._rows_at_once)
        if not passes:
            return None
        generators = {row: running.generator for row, running in self.rows.items()}
        actions = sample_chunks(
            self._lockstep, observations, self._instructions, passes, self._temperatures, generators
        )
        return actions if self._lockstep.policy.chunk_steps > 1 else actions[:, 0]
