"""Records and writes videos of policies side by side, with one frame a control step."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.evaluation.episode_queue import EpisodeStart, sample_chunks, token_seeds
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.policies.protocol import PlayedPolicy, action_dim
from ttrl_env.agents.rollout.playable import check_actions, check_one_row_an_episode
from ttrl_env.engines.interface import CONTROL_FREQ_HZ
from ttrl_env.machine.whole_files import naming
from ttrl_env.replica_env import ReplicaVectorEnv


@torch.no_grad()
def record_episodes(
    env: ReplicaVectorEnv,
    policies: Sequence[PlayedPolicy],
    init_state_id: int,
    *,
    task_id: int | None = None,
    repeat: int = 0,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[NDArray[np.uint8]]:
    """Play each policy in a row of its own, all from the same initial state, and record every step.

    The tokens are those of :func:`ttrl_env.agents.evaluation.evaluate.evaluate` for the same task, state,
    repeat, temperature and seed.

    Args:
        env: an environment with at least one row for each policy, ``n_samples=1``, ``chunk_steps=1`` and
            autoreset DISABLED. Chunks are executed step by step, so that every step has a frame.
        policies: the policies.
        init_state_id: the initial state.
        task_id: the task; ``None``: the present task of each row.
        repeat: index of the episode among those from this state.
        temperature: sampling temperature; 0 is greedy.
        seed: seed of the token sampling.

    Returns:
        Upright frames ``[T, H, W, 3]`` uint8 for each policy; the last frame shows the final state.
    """
    check_one_row_an_episode(env, chunk_steps=1)
    for policy in policies:
        check_actions(env, policy)
    observations = _begin(env, len(policies), init_state_id, task_id)
    starts = [
        EpisodeStart(task_id=int(env.task_ids[row]), init_state_id=init_state_id, repeat=repeat)
        for row in range(len(policies))
    ]
    generators = [token_seeds(seed, start) for start in starts]
    temperatures = np.full(env.num_envs, temperature, dtype=np.float32)
    frames: list[list[NDArray[np.uint8]]] = [[] for _ in policies]
    lockstep = [Lockstep(policy) for policy in policies]
    active = np.arange(len(policies))
    plans: list[list[NDArray[np.float64]]] = [[] for _ in policies]
    while active.size:
        actions = np.zeros((env.num_envs, action_dim(policies[0])))
        images = _images(env)
        for row in active.tolist():
            frames[row].append(images[row])
            if not plans[row]:
                generator = {row: generators[row]}
                plans[row] = list(
                    sample_chunks(
                        lockstep[row], observations, env.instructions, [[row]], temperatures, generator
                    )[row]
                )
            actions[row] = plans[row].pop(0)
        observations, _, terminations, truncations, _ = env.step(actions)
        active = active[~(terminations | truncations)[active]]
    return [np.stack([*played, last]) for played, last in zip(frames, _images(env), strict=False)]


def write_video(
    file: str | Path,
    episodes: Sequence[NDArray[np.uint8]],
    hold_seconds: float = 1.0,
    fps: float = CONTROL_FREQ_HZ,
) -> None:
    """Write episodes side by side to an MP4 file that plays in real time.

    An episode that ends early stays on its last frame. All stay on it for another ``hold_seconds``. ``fps``
    are the policy steps of a second: ``metadata["render_fps"]`` of an environment with ``chunk_steps=1``.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; names the file.
    """
    length = max(len(frames) for frames in episodes) + round(hold_seconds * fps)
    padded = [
        np.concatenate([frames, np.repeat(frames[-1:], length - len(frames), axis=0)]) for frames in episodes
    ]
    frames = np.concatenate(padded, axis=2)
    with naming(Path(file)):
        imageio.imwrite(file, frames, fps=fps, codec="libx264", macro_block_size=2)
    _check_whole(Path(file), len(frames))


def _check_whole(file: Path, num_frames: int) -> None:
    """Raise if frames are missing: ffmpeg reports no error on a full disk, and leaves a broken file."""
    try:
        found, _ = imageio_ffmpeg.count_frames_and_secs(str(file))
    except RuntimeError:
        found = 0
    if found != num_frames:
        raise OSError(
            errno.EIO, f"{num_frames - found} frames were not written; is the disk full?", str(file)
        )


def _begin(
    env: ReplicaVectorEnv, num_rows: int, init_state_id: int, task_id: int | None
) -> dict[str, NDArray[Any]]:
    """Reset only the first ``num_rows`` rows; the others stay unused."""
    options = {
        "init_state_ids": [init_state_id] * env.num_envs,
        "reset_mask": np.arange(env.num_envs) < num_rows,
    }
    if task_id is not None:
        options["task_ids"] = [task_id] * num_rows + env.task_ids.tolist()[num_rows:]
    return env.reset(options=options)[0]


def _images(env: ReplicaVectorEnv) -> tuple[NDArray[np.uint8], ...]:
    images = env.render()
    assert images is not None
    return images
