"""Where demonstrations come from, as a policy's ``config.json`` records it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Origin(NamedTuple):
    """Where one episode comes from; ``None``: unknown."""

    suite: str | None = None
    """LIBERO's name of the suite."""
    task: str | None = None
    """LIBERO's name of the task."""
    mujoco: str | None = None
    """The version of MuJoCo that the episode was recorded with."""
    init_state_id: int | None = None
    """The initial state that the episode starts from or near."""


def describe(origins: Iterable[Origin]) -> list[dict[str, Any]]:
    """A description of training data: one entry a task and version of MuJoCo, in their first episodes' order.

    Each entry has:

    - ``suite`` and ``task``: LIBERO's names; null if they are unknown.
    - ``num_episodes``: how many episodes there are.
    - ``init_state_ids``: the initial states that they start from or near, sorted and unique; null if that of
      any episode is unknown.
    - ``mujoco``: the version of MuJoCo that they were recorded with; null if it is unknown.
    """
    grouped: dict[tuple[str | None, ...], list[int | None]] = {}
    for suite, task, mujoco, init_state_id in origins:
        grouped.setdefault((suite, task, mujoco), []).append(init_state_id)
    return [
        {
            "suite": suite,
            "task": task,
            "num_episodes": len(states),
            "init_state_ids": _unique(states),
            "mujoco": mujoco,
        }
        for (suite, task, mujoco), states in grouped.items()
    ]


def _unique(states: list[int | None]) -> list[int] | None:
    known = [state for state in states if state is not None]
    return sorted(set(known)) if len(known) == len(states) else None
