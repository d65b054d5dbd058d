"""LeRobot's own LIBERO environment, as a program: its OpenGL and ours do not share a process.

``python lerobots_environment.py ACTIONS.npy OBSERVATIONS.pickle``
"""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks

SUITE, TASK_ID, SIZE = "libero_object", 0, 64


def observations(actions: NDArray[np.float32]) -> list[dict[str, Any]]:
    """What LeRobot's environment returns for the first initial state, and after each action."""
    from ttrl_env.engines.libero.robosuite_import import import_robosuite

    import_robosuite()
    from lerobot.envs import libero

    states = libero_tasks.init_states(SUITE, TASK_ID)  # LeRobot looks for them where another LIBERO has them
    libero.get_task_init_states = lambda *_, **__: states
    env = libero.LiberoEnv(
        libero._get_suite(SUITE),
        TASK_ID,
        SUITE,
        obs_type="pixels_agent_pos",
        observation_height=SIZE,
        observation_width=SIZE,
    )
    seen = [copy.deepcopy(env.reset(seed=0)[0])]
    seen += [copy.deepcopy(env.step(action)[0]) for action in actions]
    env.close()
    return seen


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(pickle.dumps(observations(np.load(sys.argv[1]))))
