"""Recorded episodes in memory, whatever file they come from: their form, size and range of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.engines.interface import CameraName
from ttrl_env.rotations import quaternions

ROUNDING = 1e-6
"""Amount by which an action may exceed 1: it may have been clipped in another precision."""


@dataclass(frozen=True, kw_only=True)
class RecordedEpisode:
    """One episode of ``T`` steps, with the environment's observations."""

    instruction: str
    observations: dict[str, NDArray[Any]]
    """As :class:`~ttrl_env.vector_env.TTRLVectorEnv` returns them, first axis ``T``: images uint8, bottom
    row first, and the ``robot0_*`` keys."""
    actions: NDArray[np.float32]
    """``[T, 7]`` the action taken after each observation."""


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """The size of some episodes, for budgeting memory before they are read."""

    num_episodes: int
    num_steps: int
    """Number of steps of all episodes."""
    largest_episode_bytes: int
    """Memory that the largest episode takes."""
    image_sizes: frozenset[int]
    """Heights and widths of the images."""


def recorded_episode(
    instruction: str,
    images: Mapping[CameraName, NDArray[np.uint8]] | Mapping[str, NDArray[np.uint8]],
    ee_states: NDArray[Any],
    gripper_states: NDArray[Any],
    actions: NDArray[Any],
    pairing: Pairing,
) -> RecordedEpisode:
    """Put an episode's arrays under the environment's keys, and each action beside the observation before it.

    Args:
        instruction: the task in words.
        images: ``[T, H, W, 3]`` by camera, bottom row first.
        ee_states: ``[T, 6]`` the end effector's position, metres, and rotation vector, radians.
        gripper_states: ``[T, 2]`` the finger joints, metres.
        actions: ``[T, 7]``.
        pairing: ``"before"`` if observation ``i`` comes before action ``i``; ``"after"`` if it comes after
            it: then action ``i + 1`` is paired with observation ``i``, and the last observation is dropped.
    """
    observations = {
        **{f"{camera}_image": array for camera, array in images.items()},
        "robot0_eef_pos": ee_states[:, :3],
        "robot0_eef_quat": quaternions(ee_states[:, 3:]),
        "robot0_gripper_qpos": gripper_states,
    }
    actions = np.asarray(actions, dtype=np.float32)
    if pairing == "after":
        observations = {key: array[:-1] for key, array in observations.items()}
        actions = actions[1:]
    return RecordedEpisode(instruction=instruction, observations=observations, actions=actions)


def least_steps(pairing: Pairing) -> int:
    """The fewest steps that an episode must have for one pair of observation and action."""
    return 2 if pairing == "after" else 1


def wrong_number(numbers: NDArray[Any], *, is_action: bool) -> str | None:
    """What is wrong with numbers ``[T, n]``, with the step; ``None`` if nothing is.

    They have to be finite in float32, and actions in [-1, 1].
    """
    limit = 1.0 + ROUNDING if is_action else float(np.finfo(np.float32).max)
    wrong = np.argwhere(~(np.abs(numbers) <= limit))
    if not len(wrong):
        return None
    expected = "numbers from -1 to 1" if is_action else "finite numbers"
    return f"expected {expected}, got {numbers[tuple(wrong[0])]} at step {int(wrong[0, 0])}"
