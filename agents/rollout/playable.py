"""What an environment must have before a policy plays on it, checked before anything is simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.policies.protocol import PlayedPolicy, tokens_per_chunk
from ttrl_env.replica_env import ReplicaVectorEnv


def check_playable(env: Any, chunk_steps: int, attributes: Sequence[str]) -> None:
    """Raise unless ``env`` has ``attributes``, leaves finished rows as they are, and takes such chunks.

    Under the other autoreset modes a finished row begins its next episode, whose ``success`` and
    ``finish_step`` would be taken for those of the episode that has ended.
    """
    missing = [name for name in ("num_envs", "metadata", *attributes) if not hasattr(env, name)]
    if missing:
        raise TypeError(
            f"env: expected a vector environment as TTRLVectorEnv (gymnasium.make_vec('ttrl_env/...') gives "
            f"one; ttrl_env.wrapper.TestTimeRL makes one of another), got {type(env).__name__}, which has no "
            f"{', '.join(missing)}"
        )
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.DISABLED:
        raise ValueError(
            f"env: expected autoreset mode DISABLED, under which a finished row waits for the others, got "
            f"{getattr(mode, 'name', mode)}; make the environment with autoreset_mode='disabled' (make_vec's "
            f"default is NEXT_STEP), or wrap it so: TestTimeRL(..., autoreset_mode='disabled')"
        )
    if (got := getattr(env, "chunk_steps", chunk_steps)) != chunk_steps:
        raise ValueError(
            f"env: expected chunk_steps={chunk_steps}, as it is played in such chunks, got {got}; make it "
            f"with chunk_steps={chunk_steps}"
        )


def check_actions(env: Any, policy: PlayedPolicy) -> None:
    """Raise unless the policy's actions have as many numbers as those that ``env`` takes.

    An environment whose actions are not arrays of numbers is not judged.
    """
    space = getattr(env, "single_action_space", None)
    taken = getattr(env, "action_dim", space.shape[-1] if isinstance(space, Box) and space.shape else None)
    if taken is None:
        return
    shape = policy.decode(torch.zeros(1, tokens_per_chunk(policy), dtype=torch.int64)).shape
    if len(shape) == 3 and shape[-1] != taken:
        raise ValueError(
            f"policy: expected actions of {taken} numbers, as {type(env).__name__} takes them, got "
            f"{type(policy).__name__} of {shape[-1]}; play it in the world that it was trained for (LIBERO's "
            f"actions have 7, RoboTwin's 14)"
        )


def check_privileged_state(env: Any) -> None:
    """Raise unless ``env`` has numbers ``[num_envs, P]`` for a critic to see."""
    state = getattr(env, "privileged_state", None)
    if state is None:
        raise ValueError(
            f"ppo.critic.privileged_state=true needs an environment with privileged_state, [num_envs, P] "
            f"numbers that only a simulator knows; {type(env).__name__} has none. Leave it false: the critic "
            f"then sees the policy's features alone"
        )


def check_one_row_an_episode(env: ReplicaVectorEnv, chunk_steps: int) -> None:
    """Raise unless every row of ``env`` can be given an episode of its own, played in such chunks."""
    check_playable(env, chunk_steps, ("suite", "max_steps", "n_samples", "task_ids", "instructions"))
    if env.n_samples != 1:
        raise ValueError(
            f"env: expected n_samples=1, as every row plays an episode of its own, got {env.n_samples}; "
            f"num_groups is then the number of rows"
        )


def check_reports(infos: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise unless the ``infos`` of a reset hold ``keys``."""
    missing = [key for key in keys if key not in infos]
    if missing:
        raise ValueError(
            f"env: expected its infos to hold {', '.join(keys)}, as TTRLVectorEnv's do; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )


def check_sampling_temperatures(
    argument: str, values: ArrayLike, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """``values`` as float32 of ``shape``, else raise; 0 is greedy."""
    given = np.asarray(values)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"{argument}: expected numbers, got {values!r}")
    with np.errstate(over="ignore"):
        temperatures = given.astype(np.float32)
    if given.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape}, one for each row, got {given.shape}")
    wrong = ~(np.isfinite(temperatures) & (given >= 0) & ((temperatures > 0) | (given == 0)))
    if wrong.any():
        raise ValueError(
            f"{argument}: expected numbers of at least 0 (0 is greedy) that float32 can hold, got "
            f"{given[wrong].tolist()[0]}"
        )
    return temperatures
