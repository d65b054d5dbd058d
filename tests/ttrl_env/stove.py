"""A LIBERO task that succeeds by itself: "turn on the stove", whose knob is spinning at the start.

No policy is at hand that solves a LIBERO task, and success is what most of the contract is about.
The knob (damped, no friction) coasts; its start decides at which policy step it passes the burner's
threshold of 0.5 rad. These are initial states like LIBERO's own, read by it from its own format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ttrl_env import libero_tasks

SUITE, TASK_ID = "libero_goal", 7

STOVE: dict[str, Any] = {
    "suite": SUITE,
    "task_ids": (TASK_ID,),
    "n_samples": 3,
    "image_size": 64,
    "num_workers": 2,
}
"""Keywords of an environment over the ``stove_engine`` fixture."""

SUCCESS_STEPS = (3, 6, None)
"""The step at which initial states 0, 1 and 2 succeed; they repeat: state ``i`` is ``i % 3``."""

NUM_STATES = 15

_KNOB_STARTS = ((0.06, 1.0), (0.0, 1.0), (0.1, 0.0))
"""Angle (rad) and velocity (rad/s) of the knob that lead to ``SUCCESS_STEPS`` after ten settle steps."""

_QPOS, _QVEL, _NQ = 40, 36, 41
"""Where the knob's joint is in this task's qpos and qvel, and the length of qpos."""


def install_initial_states(folder: Path) -> None:
    """Write a LIBERO configuration into ``folder`` under which the task starts with a spinning knob."""
    from libero.libero import get_libero_path

    name = f"{libero_tasks.get_task(SUITE, TASK_ID).name}.pruned_init.npz"
    source = Path(get_libero_path("init_states"))
    states = np.load(source / SUITE / name)["states"][:NUM_STATES].copy()
    for index, state in enumerate(states):
        spin_knob(state, index)
    suite = folder / "init_files" / SUITE
    suite.mkdir(parents=True)
    np.savez(suite / name, states=states)
    (folder / "config.yaml").write_text(f"init_states: {folder / 'init_files'}\n")


def spin_knob(state: np.ndarray, index: int) -> None:
    """Change an initial state ``[1 + nq + nv]`` to succeed when ``SUCCESS_STEPS`` says for ``index``."""
    angle, velocity = _KNOB_STARTS[index % 3]
    state[1 + _QPOS] = angle
    state[1 + _NQ + _QVEL] = velocity
