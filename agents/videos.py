"""Videos of policies at work, every control step, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.simulation import ACTION_DIM, CONTROL_FREQ_HZ
from ttrl_env.vector_env import TTRLVectorEnv


@torch.no_grad()
def record_episodes(
    env: TTRLVectorEnv, policies: Sequence[TokenPolicy], init_state_id: int
) -> list[NDArray[np.uint8]]:
    """Play each policy greedily in a row of its own, all from one initial state.

    Args:
        env: one row a policy, ``n_samples=1``, ``chunk_steps=1`` and autoreset DISABLED; the chunks of
            the policies are executed step by step, so that every step is seen.
        policies: the policies.
        init_state_id: the initial state.

    Returns:
        For each policy its frames, upright: ``[T, H, W, 3]``; the last one is the episode's end.
    """
    observations, _ = env.reset(options={"init_state_ids": [init_state_id] * env.num_envs})
    frames: list[list[NDArray[np.uint8]]] = [[] for _ in policies]
    active = np.arange(env.num_envs)
    plans: dict[int, list[NDArray[np.float64]]] = {row: [] for row in range(env.num_envs)}
    while active.size:
        actions = np.zeros((env.num_envs, 7))
        images = env.render()
        assert images is not None
        for row in active.tolist():
            frames[row].append(images[row])
            if not plans[row]:
                plans[row] = list(_greedy_chunk(policies[row], observations, row, env.instructions[row]))
            actions[row] = plans[row].pop(0)
        observations, _, terminations, truncations, _ = env.step(actions)
        active = active[~(terminations | truncations)[active]]
    images = env.render()
    assert images is not None
    return [np.stack([*played, last]) for played, last in zip(frames, images, strict=True)]


def write_video(file: str | Path, episodes: Sequence[NDArray[np.uint8]], hold_seconds: float = 1.0) -> None:
    """Write episodes side by side as an MP4 in real time; one that ends early stays on its last frame."""
    length = max(len(frames) for frames in episodes) + round(hold_seconds * CONTROL_FREQ_HZ)
    padded = [
        np.concatenate([frames, np.repeat(frames[-1:], length - len(frames), axis=0)]) for frames in episodes
    ]
    imageio.imwrite(
        file, np.concatenate(padded, axis=2), fps=CONTROL_FREQ_HZ, codec="libx264", macro_block_size=2
    )


def _greedy_chunk(
    policy: TokenPolicy, observations: dict[str, NDArray], row: int, instruction: str
) -> NDArray[np.float64]:
    inputs = policy.prepare({key: array[row : row + 1] for key, array in observations.items()}, [instruction])
    seeds = torch.zeros(1, policy.chunk_steps * ACTION_DIM, dtype=torch.int64)  # greedy: nothing is drawn
    return policy.decode(policy.sample(inputs, torch.zeros(1), seeds).tokens)[0]
