"""What the simulator knows about a task's goal: for a critic in training, never for the policy.

One row, ``[56]`` float32, positions in metres::

    end effector's position, world frame                  3
    distance between the fingers                          1
    of each of up to four bodies that the goal is about  13
        1 (0 where the goal is about fewer bodies)        1
        its position relative to the end effector         3
        its position, world frame                         3
        its x and its z axis, world frame                 6

The bodies are those of the goal's arguments in their order, such as the milk and the basket. For
``open``, ``close``, ``turnon`` and ``turnoff`` it is the part that moves: a drawer, a door, a knob.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import SimState
from ttrl_env.goals import read_goal
from ttrl_env.libero_tasks import LiberoTask

GOAL_BODIES = 4
"""No goal of LIBERO's own suites is about more."""

PRIVILEGED_DIM = 4 + GOAL_BODIES * 13
"""Length of a row."""


def privileged_state(
    task: LiberoTask, state: SimState, eef_pos: NDArray[np.floating], gripper_qpos: NDArray[np.floating]
) -> NDArray[np.float32]:
    """``[56]`` float32 as the module says.

    Args:
        task: the task that is played.
        state: the simulation's state.
        eef_pos: ``[3]`` the end effector's position, metres, world frame.
        gripper_qpos: ``[2]`` the finger joints, metres.
    """
    row = np.zeros(PRIVILEGED_DIM, dtype=np.float32)
    row[:3], row[3] = eef_pos, gripper_qpos[0] - gripper_qpos[1]
    bodies = [state.body_names.index(name) for name in goal_bodies(task, state.body_names)]
    for place, body in zip(row[4:].reshape(GOAL_BODIES, 13), bodies, strict=False):
        position = state.body_xpos[body]
        place[0] = 1.0
        place[1:4] = position - eef_pos
        place[4:7] = position
        place[7:] = _x_and_z_axis(state.body_xquat[body])
    return row


@functools.cache
def goal_bodies(task: LiberoTask, body_names: tuple[str, ...]) -> tuple[str, ...]:
    """The bodies that the task's goal is about, each once; an argument without a body is left out."""
    found = [
        _body(argument, body_names, moving_part=len(predicate.arguments) == 1)
        for predicate in read_goal(task)
        for argument in predicate.arguments
    ]
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _body(argument: str, body_names: Sequence[str], *, moving_part: bool) -> str | None:
    """The body of an object, fixture or region: ``wooden_cabinet_1_cabinet_top`` of its ``top_region``.

    Of the bodies of the longest name that ``argument`` begins with, it is the one with most words of
    ``argument``; of several, the first, which is the root, or the last, which is the part that moves.
    """
    words = argument.split("_")
    for length in range(len(words), 0, -1):
        owner = "_".join(words[:length])
        bodies = [name for name in body_names if name == owner or name.startswith(f"{owner}_")]
        if bodies:
            shared = [len(set(name.split("_")) & set(words)) for name in bodies]
            best = [name for name, count in zip(bodies, shared, strict=True) if count == max(shared)]
            return best[-1 if moving_part else 0]
    return None


def _x_and_z_axis(quat: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[6]`` the first and the third column of the rotation matrix of ``quat`` (wxyz)."""
    w, x, y, z = quat
    return np.array(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y + w * z),
            2 * (x * z - w * y),
            2 * (x * z + w * y),
            2 * (y * z - w * x),
            1 - 2 * (x * x + y * y),
        ]
    )
