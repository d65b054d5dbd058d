"""Playing one episode in every row of an environment, keeping what a policy update needs.

A row leaves the policy's batch when its episode ends, as it leaves the simulator's: what is stored
are the chunks that were executed, one after the other, without padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.policies.conformance import PLAYED, check_policy
from ttrl_env.agents.policies.lockstep import Lockstep, Observations
from ttrl_env.agents.policies.protocol import PlayedPolicy, PolicyInputs, action_dim, tokens_per_chunk
from ttrl_env.agents.rollout.playable import (
    check_actions,
    check_playable,
    check_privileged_state,
    check_reports,
    check_sampling_temperatures,
)
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.checks import check_positive_int, check_reset_mask, check_seeds
from ttrl_env.episodes import failures
from ttrl_env.errors import TrainingDivergedError
from ttrl_env.kernels import SampledTokens

Progress = Callable[[int, int], None]
"""Called with finished and total rows while a rollout runs."""

_REPORTS = ("success", "finish_step", "task_id", "init_state_id")


class GroupedVectorEnv(Protocol):
    """What a rollout needs of an environment.

    :class:`ttrl_env.vector_env.TTRLVectorEnv` has it, and :class:`ttrl_env.wrapper.TestTimeRL` gives it to
    any other. The autoreset mode must be DISABLED, and ``infos`` must hold ``success``, ``finish_step``,
    ``task_id`` and ``init_state_id``, and may hold ``failure`` (why a row's simulation diverged). A horizon
    ``max_steps`` is optional; the critic and ``ppo.loss_reduction=token-sum-norm`` need it. So is
    ``privileged_state``, ``[num_envs, P]`` numbers that only a simulator knows;
    ``ppo.critic.privileged_state`` needs it.
    Observations are an array whose first axis is the row, or a dictionary of such arrays.
    """

    metadata: dict[str, Any]

    @property
    def num_envs(self) -> int:
        """The number of rows."""

    @property
    def temperatures(self) -> NDArray[np.float32]:
        """``[num_envs]`` each row's sampling temperature."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """``[num_envs]`` each row's group."""

    @property
    def instructions(self) -> Sequence[str]:
        """One instruction a row."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every row."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Execute one chunk of actions in every unfinished row."""


@torch.no_grad()
def collect_rollout(
    env: GroupedVectorEnv | VectorEnv[Any, Any, Any],
    policy: PlayedPolicy | Lockstep[PlayedPolicy],
    *,
    options: dict[str, Any] | None = None,
    seed: int | Sequence[int],
    temperatures: ArrayLike | None = None,
    rows_at_once: int = 0,
    keep_final_inputs: bool = False,
    keep_privileged_state: bool = False,
    progress: Progress | None = None,
) -> Rollout:
    """Reset ``env`` and play every row to its end (with ``options["reset_mask"]``, the rows it resets).

    ::

        settings = {"n_samples": 4, "chunk_steps": policy.chunk_steps, "autoreset_mode": "disabled"}
        envs = gym.make_vec("ttrl_env/LiberoSpatial-v0", num_envs=4, **settings)
        agent = PPOAgent(policy, PPOConfig())
        for iteration in range(10):
            rollout = collect_rollout(envs, policy, seed=iteration)
            print(rollout.success, rollout.rewards)  # one for each row
            agent.update(rollout)

    Args:
        env: a :class:`GroupedVectorEnv` whose autoreset mode is DISABLED. A type checker takes any vector
            environment, as ``gymnasium.make_vec`` returns one.
        policy: the policy to sample from. Several processes give a :class:`Lockstep` of it, and each an
            environment of its part of the rows; ``seed`` is the same in all, and the tokens are those that
            one process would sample for all rows.
        options: passed to ``env.reset``: which tasks and initial states to play.
        seed: seed of the token sampling; the same seed replays the same tokens.
        temperatures: ``[num_envs]`` sampling temperatures instead of the environment's; 0 is greedy.
        rows_at_once: rows in one forward pass of the policy, which bounds its memory; 0: all.
        keep_final_inputs: keep what the policy sees after the horizon, to bootstrap values from.
        keep_privileged_state: keep ``env.privileged_state`` before every chunk, for a critic.
        progress: called after each step.

    Raises:
        TypeError, ValueError: before anything is played: an environment that is not a
            :class:`GroupedVectorEnv` or does not take the policy's chunks, or an argument that cannot work.
        ValueError: after the first chunk: a row that ``"reset_mask"`` leaves out is in the midst of an
            episode. Every row takes part in a step, so the episode would go on with actions of zeros.
    """
    lockstep = Lockstep.of(policy)
    check_policy(lockstep.policy, PLAYED)
    env = _grouped(env, lockstep.policy)
    recorder = _Recorder(env, lockstep, temperatures, seed, rows_at_once)
    mask = (options or {}).get("reset_mask")
    _check_whole_groups(mask, env.groups)
    started = time.perf_counter()
    observations, infos = env.reset(options=options)
    recorder.simulation_seconds += time.perf_counter() - started
    check_reports(infos, _REPORTS)
    if keep_privileged_state:  # which an environment has from the first reset on
        check_privileged_state(env)
    active = np.arange(env.num_envs) if mask is None else np.flatnonzero(mask)
    left_out = {row: infos["finish_step"][row] for row in np.setdiff1d(np.arange(env.num_envs), active)}
    while (actions := recorder.act(observations, active)) is not None:
        if keep_privileged_state:
            recorder.keep_privileged_state(active)
        if not active.size:  # the rows of other processes are not finished yet
            continue
        started = time.perf_counter()
        observations, rewards, terminations, truncations, infos = env.step(actions)
        recorder.simulation_seconds += time.perf_counter() - started
        _check_left_out(left_out, infos)
        recorder.observe(active, rewards, terminations, truncations, infos)
        if keep_final_inputs:
            recorder.keep_final_inputs(observations, active, infos)
        active = active[~(terminations | truncations)[active]]
        if progress is not None:
            progress(env.num_envs - active.size, env.num_envs)
    return recorder.rollout(infos)


def _grouped(env: Any, policy: PlayedPolicy) -> GroupedVectorEnv:
    """``env``, checked to have what a rollout needs and to take the policy's actions."""
    check_playable(env, policy.chunk_steps, ("temperatures", "groups", "instructions"))
    check_actions(env, policy)
    return env


def _check_whole_groups(mask: Any, groups: NDArray[np.int64]) -> None:
    """Rows of a group are compared with each other: one that is not played would count as a failure."""
    if mask is None:
        return
    played = check_reset_mask(mask, len(groups))
    split = np.intersect1d(groups[played], groups[~played])
    if split.size:
        raise ValueError(
            f"options['reset_mask']: expected whole groups, got some rows of groups {split.tolist()}"
        )


def _check_left_out(finish_steps: dict[int, Any], infos: dict[str, Any]) -> None:
    """Raise if a step has moved a row that is not played; ``finish_steps`` are those rows' before it."""
    moved = [int(row) for row, before in finish_steps.items() if infos["finish_step"][row] != before]
    if moved:
        raise ValueError(
            f"options['reset_mask']: rows {moved} are left out in the midst of an episode, and a step "
            f"without a policy's action would change it; reset them too, or play them to the end before"
        )


class _Recorder:
    """Accumulates a rollout's chunks."""

    def __init__(
        self,
        env: GroupedVectorEnv,
        lockstep: Lockstep[PlayedPolicy],
        temperatures: ArrayLike | None,
        seed: int | Sequence[int],
        rows_at_once: int,
    ) -> None:
        self._env, self._lockstep, self._policy = env, lockstep, lockstep.policy
        self._num_tokens = tokens_per_chunk(self._policy)
        self._max_steps: int | None = getattr(env, "max_steps", None)
        temperatures = env.temperatures if temperatures is None else temperatures
        self._temperatures = torch.from_numpy(
            check_sampling_temperatures("temperatures", temperatures, (env.num_envs,))
        )
        check_seeds("seed", seed)
        rng = np.random.default_rng(seed)
        # one stream a row and token; the chunk's index is the kernel's step
        seeds = rng.integers(2**63, size=(env.num_envs * lockstep.world.size, self._num_tokens))
        self._seeds = torch.from_numpy(seeds[lockstep.world.part(len(seeds))])
        self._rows_at_once = check_positive_int("rows_at_once", rows_at_once, minimum=0)
        self._chunks: list[dict[str, Any]] = []
        self._ends: list[tuple[PolicyInputs, NDArray[np.int64]]] = []
        self._rewards = np.zeros(env.num_envs)
        self._terminations = np.zeros(env.num_envs, dtype=np.bool_)
        self._truncations = np.zeros(env.num_envs, dtype=np.bool_)
        self._finish_steps = np.zeros(env.num_envs, dtype=np.int64)
        self.simulation_seconds = 0.0
        self._policy_seconds = 0.0

    def act(self, observations: Observations, rows: NDArray[np.int64]) -> NDArray[Any] | None:
        """Sample a chunk for ``rows``; returns actions of all rows, zero where finished.

        ``None`` once no process has any rows left.
        """
        passes = self._lockstep.passes(rows, self._rows_at_once)
        if not passes:
            return None
        started = time.perf_counter()
        parts = self._lockstep.sample(
            observations,
            self._env.instructions,
            passes,
            self._temperatures,
            self._seeds,
            step=len(self._chunks),
        )
        _check_valid(parts)
        actions = self._decode(self._keep(parts, rows), rows) if parts else np.empty(0)
        self._policy_seconds += time.perf_counter() - started
        return actions

    def keep_privileged_state(self, rows: NDArray[np.int64]) -> None:
        """Add what the simulator knows of ``rows`` to the chunk that was just sampled."""
        if rows.size:
            state = np.asarray(self._env.privileged_state, dtype=np.float32)  # type: ignore[attr-defined]
            self._chunks[-1]["privileged"] = torch.from_numpy(state[rows])

    def _decode(self, tokens: torch.Tensor, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Actions of all rows for ``env.step``, of ``tokens`` ``[rows, K]``; zero in the other rows."""
        decoded = self._policy.decode(tokens)
        expected = (len(rows), self._policy.chunk_steps)
        if decoded.shape[:2] != expected:
            raise ValueError(
                f"policy: expected decode() to return actions of shape [rows, chunk_steps, ...], here "
                f"[{expected[0]}, {expected[1]}, ...], got {list(decoded.shape)}"
            )
        actions = np.zeros((self._env.num_envs, *decoded.shape[1:]), dtype=decoded.dtype)
        actions[rows] = decoded
        return actions if self._policy.chunk_steps > 1 else actions[:, 0]

    def _keep(self, parts: list[tuple[PolicyInputs, SampledTokens]], rows: NDArray[np.int64]) -> torch.Tensor:
        """Keep what was sampled for ``rows`` as a chunk; returns its tokens ``[rows, K]``."""
        chunk = {
            name: torch.cat([getattr(sampled, name).cpu() for _, sampled in parts])
            for name in ("tokens", "logprobs", "entropies")
        }
        inputs = _join_inputs([inputs for inputs, _ in parts])
        nothing = torch.empty(len(rows), 0)
        self._chunks.append(
            {**chunk, "inputs": inputs, "trajectory": torch.from_numpy(rows), "privileged": nothing}
        )
        return chunk["tokens"]

    def observe(
        self,
        rows: NDArray[np.int64],
        rewards: NDArray[np.float64],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        infos: dict[str, Any],
    ) -> None:
        """Note what ``rows`` earned, whether they ended, and how many of the chunk's steps they executed."""
        finish_steps = np.asarray(infos["finish_step"])
        executed = torch.from_numpy(finish_steps[rows] - self._finish_steps[rows])
        horizon = np.nan if self._max_steps is None else self._max_steps
        self._chunks[-1]["elapsed"] = torch.from_numpy(self._finish_steps[rows] / horizon).float()
        step_of_token = torch.arange(self._num_tokens) // action_dim(self._policy)
        self._chunks[-1]["mask"] = step_of_token < executed[:, None]
        self._chunks[-1]["chunk_rewards"] = torch.from_numpy(np.asarray(rewards, dtype=np.float64)[rows])
        self._finish_steps[rows] = finish_steps[rows]
        self._rewards[rows] += rewards[rows]
        self._terminations[rows], self._truncations[rows] = terminations[rows], truncations[rows]

    def keep_final_inputs(
        self, observations: Observations, rows: NDArray[np.int64], infos: dict[str, Any]
    ) -> None:
        """Keep what the policy would see next in those of ``rows`` that the horizon has cut off."""
        failure = failures(infos, self._env.num_envs)
        cut_off = rows[self._truncations[rows] & np.array([failure[row] is None for row in rows], dtype=bool)]
        if cut_off.size:
            seen = self._lockstep.prepare(observations, self._env.instructions, cut_off)
            self._ends.append((seen, cut_off))

    def rollout(self, infos: dict[str, Any]) -> Rollout:
        """Everything played, concatenated."""
        chunks = self._chunks
        joined = {
            key: torch.cat([chunk[key] for chunk in chunks])
            for key in (
                *("tokens", "logprobs", "entropies", "mask", "chunk_rewards", "elapsed", "trajectory"),
                "privileged",
            )
        }
        ends = np.concatenate([np.empty(0, dtype=np.int64), *(rows for _, rows in self._ends)])
        return Rollout(
            inputs=_join_inputs([chunk["inputs"] for chunk in chunks]),
            **joined,
            max_steps=self._max_steps,
            final_inputs=_join_inputs([inputs for inputs, _ in self._ends]),
            final_trajectory=torch.from_numpy(ends),
            temperatures=self._temperatures,
            groups=self._env.groups.copy(),
            rewards=self._rewards,
            success=np.asarray(infos["success"]).copy(),
            terminations=self._terminations,
            truncations=self._truncations,
            finish_steps=self._finish_steps,
            task_ids=np.asarray(infos["task_id"]).copy(),
            init_state_ids=np.asarray(infos["init_state_id"]).copy(),
            draws=np.zeros(self._env.num_envs, dtype=np.int64),
            simulation_seconds=self.simulation_seconds,
            policy_seconds=self._policy_seconds,
        )


def _check_valid(parts: Sequence[tuple[PolicyInputs, SampledTokens]]) -> None:
    if not all(bool(sampled.valid.all()) for _, sampled in parts):
        raise TrainingDivergedError(
            "the policy's logits are NaN or infinite. Go on from an earlier checkpoint with a lower "
            "ppo.learning_rate"
        )


def _join_inputs(parts: Sequence[PolicyInputs]) -> PolicyInputs:
    """The rows of several inputs one after the other; nothing for none."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} if parts else {}
