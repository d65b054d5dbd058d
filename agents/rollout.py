"""Playing one episode in every row of an environment, keeping what a policy update needs.

A row leaves the policy's batch when its episode ends, as it leaves the simulator's: what is stored
are the chunks that were executed, one after the other, without padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.policies import PolicyInputs, TokenPolicy
from ttrl_env.errors import TrainingDivergedError
from ttrl_env.simulation import ACTION_DIM

Progress = Callable[[int, int], None]
"""Called with finished and total rows while a rollout runs."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """``B`` trajectories (one a row) and their ``M`` executed chunks, in the order they were played."""

    inputs: PolicyInputs
    """The policy's inputs of every chunk, first axis ``M``."""
    tokens: Tensor
    """``[M, K]`` int64 sampled action tokens, ``K = chunk_steps * 7``."""
    logprobs: Tensor
    """``[M, K]`` float32 log-probabilities under the policy that sampled, at the row's temperature."""
    entropies: Tensor
    """``[M, K]`` float32 entropies of the distributions sampled from."""
    mask: Tensor
    """``[M, K]`` bool: tokens whose policy step was executed (a chunk stops at success)."""
    trajectory: Tensor
    """``[M]`` int64 which trajectory a chunk belongs to."""
    temperatures: Tensor
    """``[B]`` float32 sampling temperatures."""
    groups: NDArray[np.int64]
    """``[B]`` which group (task and initial state) a trajectory belongs to."""
    rewards: NDArray[np.float64]
    """``[B]`` reward of the whole trajectory."""
    success: NDArray[np.bool_]
    """``[B]`` whether the task was solved; never derived from the reward."""
    finish_steps: NDArray[np.int64]
    """``[B]`` executed policy steps."""
    task_ids: NDArray[np.int64]
    """``[B]`` tasks played."""
    init_state_ids: NDArray[np.int64]
    """``[B]`` initial states started from."""
    simulation_seconds: float
    """Wall time spent in the environment."""
    policy_seconds: float
    """Wall time spent in the policy, sampling included."""

    @property
    def num_trajectories(self) -> int:
        """``B``."""
        return len(self.rewards)


class GroupedVectorEnv(Protocol):
    """What a rollout needs of an environment: :class:`ttrl_env.vector_env.TTRLVectorEnv` has it.

    The autoreset mode must be DISABLED, and ``infos`` must hold ``success``, ``finish_step``,
    ``task_id`` and ``init_state_id``.
    """

    num_envs: int
    temperatures: NDArray[np.float32]
    groups: NDArray[np.int64]
    metadata: dict[str, Any]

    @property
    def instructions(self) -> Sequence[str]:
        """One instruction a row."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every row."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Execute one chunk of actions in every unfinished row."""


@torch.no_grad()
def collect_rollout(
    env: GroupedVectorEnv,
    policy: TokenPolicy,
    *,
    options: dict[str, Any] | None = None,
    seed: int | Sequence[int],
    temperatures: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Rollout:
    """Reset ``env`` and play every row to its end (with ``options["reset_mask"]``, the rows it resets).

    Args:
        env: an environment whose autoreset mode is DISABLED.
        policy: the policy to sample from.
        options: passed to ``env.reset``: which tasks and initial states to play.
        seed: seed of the token sampling; the same seed replays the same tokens.
        temperatures: ``[num_envs]`` sampling temperatures instead of the environment's; 0 is greedy.
        progress: called after each step.
    """
    recorder = _Recorder(env, policy, temperatures, seed)
    started = time.perf_counter()
    observations, infos = env.reset(options=options)
    recorder.simulation_seconds += time.perf_counter() - started
    mask = (options or {}).get("reset_mask")
    active = np.arange(env.num_envs) if mask is None else np.flatnonzero(mask)
    while active.size:
        actions = recorder.act(observations, active)
        started = time.perf_counter()
        observations, rewards, terminations, truncations, infos = env.step(actions)
        recorder.simulation_seconds += time.perf_counter() - started
        recorder.observe(active, rewards, infos)
        active = active[~(terminations | truncations)[active]]
        if progress is not None:
            progress(env.num_envs - active.size, env.num_envs)
    return recorder.rollout(infos)


class _Recorder:
    """Accumulates a rollout's chunks."""

    def __init__(
        self,
        env: GroupedVectorEnv,
        policy: TokenPolicy,
        temperatures: NDArray[np.float32] | None,
        seed: int | Sequence[int],
    ) -> None:
        self._env, self._policy = env, policy
        self._num_tokens = policy.chunk_steps * ACTION_DIM
        temperatures = env.temperatures if temperatures is None else temperatures
        self._temperatures = torch.as_tensor(np.asarray(temperatures, dtype=np.float32))
        rng = np.random.default_rng(seed)
        # one stream a row and token; the chunk's index is the kernel's step
        self._seeds = torch.from_numpy(rng.integers(2**63, size=(env.num_envs, self._num_tokens)))
        self._chunks: list[dict[str, Any]] = []
        self._rewards = np.zeros(env.num_envs)
        self._finish_steps = np.zeros(env.num_envs, dtype=np.int64)
        self.simulation_seconds = 0.0
        self._policy_seconds = 0.0

    def act(self, observations: dict[str, NDArray], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sample a chunk for ``rows``; returns actions of all rows, zero where finished."""
        started = time.perf_counter()
        instructions = self._env.instructions
        inputs = self._policy.prepare(
            {key: array[rows] for key, array in observations.items()}, [instructions[row] for row in rows]
        )
        sampled = self._policy.sample(
            inputs, self._temperatures[rows], self._seeds[rows], step=len(self._chunks)
        )
        if not bool(sampled.valid.all()):
            raise TrainingDivergedError(
                "the policy's logits are NaN or infinite. Go on from an earlier checkpoint with a lower "
                "ppo.learning_rate"
            )
        self._chunks.append(
            {
                "inputs": inputs,
                "tokens": sampled.tokens.cpu(),
                "logprobs": sampled.logprobs.cpu(),
                "entropies": sampled.entropies.cpu(),
                "trajectory": torch.from_numpy(rows),
            }
        )
        actions = np.zeros((self._env.num_envs, self._policy.chunk_steps, ACTION_DIM))
        actions[rows] = self._policy.decode(self._chunks[-1]["tokens"])
        self._policy_seconds += time.perf_counter() - started
        return actions if self._policy.chunk_steps > 1 else actions[:, 0]

    def observe(self, rows: NDArray[np.int64], rewards: NDArray[np.float64], infos: dict[str, Any]) -> None:
        """Note what ``rows`` earned and how many of the chunk's steps they executed."""
        finish_steps = np.asarray(infos["finish_step"])
        executed = torch.from_numpy(finish_steps[rows] - self._finish_steps[rows])
        step_of_token = torch.arange(self._num_tokens) // ACTION_DIM
        self._chunks[-1]["mask"] = step_of_token < executed[:, None]
        self._finish_steps[rows] = finish_steps[rows]
        self._rewards[rows] += rewards[rows]

    def rollout(self, infos: dict[str, Any]) -> Rollout:
        """Everything played, concatenated."""
        chunks = self._chunks
        joined = {
            key: torch.cat([chunk[key] for chunk in chunks])
            for key in ("tokens", "logprobs", "entropies", "mask", "trajectory")
        }
        inputs = {key: torch.cat([chunk["inputs"][key] for chunk in chunks]) for key in chunks[0]["inputs"]}
        return Rollout(
            inputs=inputs,
            **joined,
            temperatures=self._temperatures,
            groups=self._env.groups.copy(),
            rewards=self._rewards,
            success=np.asarray(infos["success"]).copy(),
            finish_steps=self._finish_steps,
            task_ids=np.asarray(infos["task_id"]).copy(),
            init_state_ids=np.asarray(infos["init_state_id"]).copy(),
            simulation_seconds=self.simulation_seconds,
            policy_seconds=self._policy_seconds,
        )
