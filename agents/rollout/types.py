"""What a rollout leaves behind: trajectories, their executed chunks, and how to pick and join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ttrl_env.agents.policies import PolicyInputs
from ttrl_env.agents.policies.lockstep import Chunks


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """``B`` trajectories (one a row) and their ``M`` executed chunks, in the order they were played."""

    inputs: PolicyInputs
    """The policy's inputs of every chunk, first axis ``M``."""
    tokens: Tensor
    """``[M, K]`` int64 sampled action tokens, ``K = chunk_steps * action_dim``."""
    logprobs: Tensor
    """``[M, K]`` float32 log-probabilities under the policy that sampled, at the row's temperature."""
    entropies: Tensor
    """``[M, K]`` float32 entropies of the distributions sampled from."""
    mask: Tensor
    """``[M, K]`` bool: tokens whose policy step was executed (a chunk stops at success and horizon)."""
    trajectory: Tensor
    """``[M]`` int64 which trajectory a chunk belongs to."""
    chunk_rewards: Tensor
    """``[M]`` float64 reward earned while the chunk was executed."""
    elapsed: Tensor
    """``[M]`` float32 share of the horizon before the chunk; NaN if the environment has no ``max_steps``."""
    max_steps: int | None
    """The environment's horizon in policy steps, one for all trajectories; ``None`` if it has none."""
    privileged: Tensor
    """``[M, P]`` float32 what the simulator knew before the chunk; ``P`` is 0 unless it was asked for."""
    final_inputs: PolicyInputs
    """The policy's inputs *after* the last chunk of the trajectories in ``final_trajectory``."""
    final_trajectory: Tensor
    """``[F]`` int64 trajectories cut off by the horizon, if a rollout was asked to keep their ends."""
    temperatures: Tensor
    """``[B]`` float32 sampling temperatures."""
    groups: NDArray[np.int64]
    """``[B]`` which group (task and initial state) a trajectory belongs to."""
    rewards: NDArray[np.float64]
    """``[B]`` reward of the whole trajectory."""
    success: NDArray[np.bool_]
    """``[B]`` whether the task was solved; never derived from the reward."""
    terminations: NDArray[np.bool_]
    """``[B]`` trajectories that ended by reaching the goal."""
    truncations: NDArray[np.bool_]
    """``[B]`` trajectories cut off, by the horizon or because their simulation diverged."""
    finish_steps: NDArray[np.int64]
    """``[B]`` executed policy steps."""
    task_ids: NDArray[np.int64]
    """``[B]`` tasks played."""
    init_state_ids: NDArray[np.int64]
    """``[B]`` initial states started from."""
    draws: NDArray[np.int64]
    """``[B]`` which of the rollouts that have been joined a trajectory was played in."""
    simulation_seconds: float
    """Wall time spent in the environment."""
    policy_seconds: float
    """Wall time spent in the policy, sampling included."""

    @property
    def num_trajectories(self) -> int:
        """``B``."""
        return len(self.rewards)

    @property
    def chunks(self) -> Chunks:
        """All ``M`` chunks, as a policy evaluates them; nothing is copied."""
        return Chunks(inputs=self.inputs, tokens=self.tokens, temperatures=self.temperatures[self.trajectory])

    def without_inputs(self) -> Rollout:
        """The same without the policy's inputs, by far its largest part: enough for statistics."""
        nothing = torch.empty(0, dtype=torch.int64)
        return replace(self, inputs={}, final_inputs={}, final_trajectory=nothing)


_PER_CHUNK = ("tokens", "logprobs", "entropies", "mask", "chunk_rewards", "elapsed", "privileged")
_PER_TRAJECTORY = (
    "temperatures",
    "rewards",
    "success",
    "terminations",
    "truncations",
    "finish_steps",
    "task_ids",
    "init_state_ids",
    "draws",
)


def select_groups(rollout: Rollout, groups: ArrayLike) -> Rollout:
    """The trajectories of ``groups`` with their chunks; times stay those of the whole rollout."""
    kept = np.flatnonzero(np.isin(rollout.groups, groups))
    number = torch.full((rollout.num_trajectories,), -1)
    number[torch.from_numpy(kept)] = torch.arange(len(kept))
    chunks = number[rollout.trajectory] >= 0
    ends = number[rollout.final_trajectory] >= 0
    return replace(
        rollout,
        inputs={key: tensor[chunks] for key, tensor in rollout.inputs.items()},
        trajectory=number[rollout.trajectory[chunks]],
        final_inputs={key: tensor[ends] for key, tensor in rollout.final_inputs.items()},
        final_trajectory=number[rollout.final_trajectory[ends]],
        groups=rollout.groups[kept],
        **{name: getattr(rollout, name)[chunks] for name in _PER_CHUNK},
        **{name: getattr(rollout, name)[kept] for name in _PER_TRAJECTORY},
    )


def join_rollouts(rollouts: Sequence[Rollout]) -> Rollout:
    """Several rollouts of one policy as one, groups and trajectories renumbered, times added.

    Raises:
        ValueError: there are none, or their environments' horizons differ.
    """
    if not rollouts:
        raise ValueError("rollouts: expected at least one")
    if len({each.max_steps for each in rollouts}) > 1:
        raise ValueError(
            f"rollouts: expected environments of one max_steps, got {[each.max_steps for each in rollouts]}"
        )
    if len(rollouts) == 1:
        return rollouts[0]
    first_trajectory = np.cumsum([0, *(each.num_trajectories for each in rollouts[:-1])]).tolist()
    first_group = np.cumsum([0, *(each.groups.max(initial=-1) + 1 for each in rollouts[:-1])])
    first_draw = np.cumsum([0, *(each.draws.max(initial=0) + 1 for each in rollouts[:-1])])
    names = [field.name for field in fields(Rollout) if field.name != "max_steps"]
    parts = {name: [getattr(each, name) for each in rollouts] for name in names}
    for name in ("trajectory", "final_trajectory"):
        parts[name] = [part + first for part, first in zip(parts[name], first_trajectory, strict=True)]
    parts["groups"] = [part + first for part, first in zip(parts["groups"], first_group, strict=True)]
    parts["draws"] = [part + first for part, first in zip(parts["draws"], first_draw, strict=True)]
    joined = {name: _join(values) for name, values in parts.items()}
    return Rollout(max_steps=rollouts[0].max_steps, **joined)


def _join(parts: list[Any]) -> Any:
    """One field's values put together: arrays one after the other, inputs key by key, times added."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], dict):
        keys = {key for part in parts for key in part}
        return {key: torch.cat([part[key] for part in parts if key in part]) for key in sorted(keys)}
    return sum(parts)


def groups_with_spread(rewards: ArrayLike, groups: ArrayLike) -> NDArray[np.int64]:
    """The groups whose trajectories do not all have the same reward: those that carry a gradient."""
    rewards, groups = np.asarray(rewards), np.asarray(groups)
    return np.array(
        [group for group in np.unique(groups) if np.ptp(rewards[groups == group]) != 0], dtype=np.int64
    )
