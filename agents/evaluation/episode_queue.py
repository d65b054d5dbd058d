"""Playing a list of episodes on the rows of an environment: a row whose episode ends takes the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.rollout.spare_passes import blank_inputs, sample_spare
from ttrl_env.checks import check_positive_int
from ttrl_env.engines.interface import ACTION_DIM
from ttrl_env.errors import TrainingDivergedError
from ttrl_env.vector_env import TTRLVectorEnv


@dataclass(frozen=True, kw_only=True, order=True)
class EpisodeStart:
    """Which episode is played: its random numbers follow from this and the seed alone."""

    task_id: int
    init_state_id: int
    repeat: int = 0
    """Counts the episodes that start from this state."""


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
    """Why the simulation diverged, if it did; such an episode counts as a failure."""

    @property
    def start(self) -> EpisodeStart:
        """What was played."""
        return EpisodeStart(task_id=self.task_id, init_state_id=self.init_state_id, repeat=self.repeat)


@torch.no_grad()
def play_episodes(
    env: TTRLVectorEnv,
    policy: TokenPolicy,
    starts: Iterable[EpisodeStart],
    *,
    temperature: float,
    seed: int,
    on_episode: Callable[[Episode], None],
    rows_at_once: int = 0,
    world: World = ALONE,
) -> None:
    """Play every episode of ``starts``, calling ``on_episode`` as each ends.

    An episode's tokens depend on ``seed`` and its :class:`EpisodeStart`, not on the row it is played
    in or the number of rows.

    Args:
        env: ``n_samples=1``, autoreset DISABLED.
        policy: the policy; greedy at ``temperature`` 0.
        starts: the episodes.
        temperature: sampling temperature.
        seed: seed of the token sampling.
        on_episode: receives the finished episodes, in the order they end.
        rows_at_once: rows in one forward pass of the policy, which bounds its memory; 0: all.
        world: the processes that play other episodes of the same evaluation at the same time.
    """
    queue = _Queue(env, policy, starts, temperature, seed, rows_at_once, world)
    observations = queue.refill()
    while (actions := queue.act(observations)) is not None:
        if not queue.rows:  # the episodes of other processes are not over yet
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
                    failure=infos["failure"][row],
                )
            )
        if ended:
            observations = queue.refill() or observations


def token_seeds(seed: int, start: EpisodeStart) -> np.random.Generator:
    """The generator of an episode's seeds: ``chunk_steps * 7`` int64 below ``2**63`` for each chunk."""
    return np.random.default_rng([seed, start.task_id, start.init_state_id, start.repeat])


def sample_chunks(
    policy: TokenPolicy,
    observations: dict[str, NDArray],
    instructions: list[str],
    temperatures: NDArray[np.float32],
    generators: Iterable[np.random.Generator],
) -> NDArray[np.float64]:
    """The next chunk of every row: ``[rows, chunk_steps, 7]`` actions, one generator a row."""
    num_tokens = policy.chunk_steps * ACTION_DIM
    seeds = np.stack([generator.integers(2**63, size=num_tokens) for generator in generators])
    sampled = policy.sample(
        policy.prepare(observations, instructions),
        torch.from_numpy(temperatures),
        torch.from_numpy(seeds),
        step=0,  # each chunk draws new seeds
    )
    if not bool(sampled.valid.all()):
        raise TrainingDivergedError(
            "the policy's logits are NaN or infinite: this checkpoint is broken, evaluate an earlier one"
        )
    return policy.decode(sampled.tokens.cpu())


@dataclass(frozen=True)
class _Running:
    """The episode under way in a row."""

    start: EpisodeStart
    generator: np.random.Generator


class _Queue:
    """The episodes not begun, and those under way by row."""

    def __init__(
        self,
        env: TTRLVectorEnv,
        policy: TokenPolicy,
        starts: Iterable[EpisodeStart],
        temperature: float,
        seed: int,
        rows_at_once: int,
        world: World,
    ) -> None:
        self._env, self._policy, self._seed, self._world = env, policy, seed, world
        self._rows_at_once = check_positive_int("rows_at_once", rows_at_once, minimum=0) or env.num_envs
        self._waiting = deque(starts)
        self._temperature = temperature
        self._task_ids = env.task_ids.tolist()
        self._instructions = list(env.instructions)
        self.rows: dict[int, _Running] = {}

    def refill(self) -> dict[str, NDArray]:
        """Begin an episode in every idle row; returns the observations, empty if none began."""
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

    def act(self, observations: dict[str, NDArray]) -> NDArray[np.float64] | None:
        """Actions of all rows for ``env.step``, zero where idle; ``None`` once no process has rows left."""
        actions = np.zeros((self._env.num_envs, self._policy.chunk_steps, ACTION_DIM))
        running = sorted(self.rows)
        firsts = range(0, len(running), self._rows_at_once)
        passes = self._world.in_step([running[first : first + self._rows_at_once] for first in firsts])
        if not passes:
            return None
        for rows in passes:
            if rows is None:
                sample_spare(self._policy, blank_inputs(self._env, self._policy))
                continue
            actions[rows] = sample_chunks(
                self._policy,
                {key: array[rows] for key, array in observations.items()},
                [self._instructions[row] for row in rows],
                np.full(len(rows), self._temperature, dtype=np.float32),
                [self.rows[row].generator for row in rows],
            )
        return actions if self._policy.chunk_steps > 1 else actions[:, 0]
