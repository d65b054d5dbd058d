"""A simulation of two arms without physics, behind the interface that RoboTwin's runtime is behind.

Workers load this file by its folder, in any interpreter with NumPy. Each joint goes half of the way to its
target by every action. The goal: all joints within 0.1 of :func:`goal` of the seed. ``Settings.assets`` may
name a folder with a ``behaviour.json``, which is read at every call, and makes the simulation misbehave::

    {"unstable": [100000, ...],    seeds that do not come to rest
     "differs": true,              starts depend on the process
     "dies_in": "step",            the process ends in reset or step
     "raises_in": "step",          an exception
     "hangs_in": "step",           for a minute
     "sleeps_s": 0.5,              every step takes so long
     "fails_at": 3}                the simulation diverges at this action of a chunk, counted from 1
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ttrl_env.robotwin.worker.interface import Outcome, Settings, Start, State, UnstableSeedError
    from ttrl_env.robotwin.worker.layout import CAMERAS, JOINT_STATE, image_key
else:
    try:  # in a worker, which knows the package by this name
        from worker.interface import Outcome, Start, State, UnstableSeedError
        from worker.layout import CAMERAS, JOINT_STATE, image_key
    except ImportError:
        from ttrl_env.robotwin.worker.interface import Outcome, Start, State, UnstableSeedError
        from ttrl_env.robotwin.worker.layout import CAMERAS, JOINT_STATE, image_key

JOINTS = 14


def start(task: str, seed: int) -> NDArray[np.float64]:
    """Joint positions at the start, ``[14]``."""
    return np.random.default_rng([seed, len(task)]).uniform(0.0, 0.2, JOINTS)


def goal(task: str, seed: int) -> NDArray[np.float64]:
    """Joint positions to reach, ``[14]``: two actions with this target reach them, and one does not."""
    return start(task, seed) + 0.3


class FakeSimulation:
    """One row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._joints = self._goal = np.zeros(JOINTS)

    def reset(self, task: str, seed: int) -> Start:
        behaviour = self._misbehave("reset")
        if seed in behaviour.get("unstable", ()):
            raise UnstableSeedError(f"a block of seed {seed} keeps on rolling")
        self._joints, self._goal = start(task, seed), goal(task, seed)
        if behaviour.get("differs"):
            self._joints[0] += 1e-12 * os.getpid()
        digest = hashlib.sha256(self._joints.tobytes()).hexdigest()
        return Start(instruction=f"do {task.replace('_', ' ')}, way {seed % 7}", digest=digest)

    def step(self, actions: NDArray[np.float64], max_steps: int) -> Outcome:
        behaviour = self._misbehave("step")
        time.sleep(behaviour.get("sleeps_s", 0.0))
        executed = 0
        for action in actions[:max_steps]:
            executed += 1
            if executed == behaviour.get("fails_at"):
                return Outcome(executed_steps=executed, success=False, failure="joint positions are NaN")
            self._joints = self._joints + 0.5 * (action - self._joints)
            if np.abs(self._joints - self._goal).max() < 0.1:
                return Outcome(executed_steps=executed, success=True)
        return Outcome(executed_steps=executed, success=False)

    def observe(self) -> dict[str, NDArray[Any]]:
        height, width = self._settings.image_height, self._settings.image_width
        seen: dict[str, NDArray[Any]] = {JOINT_STATE: self._joints}
        for camera in self._settings.cameras:
            brightness = int(200 * np.abs(self._joints[CAMERAS.index(camera)])) % 256
            seen[image_key(camera)] = np.full((height, width, 3), brightness, np.uint8)
        return seen

    def state(self) -> State:
        return State(
            joint_names=[f"joint_{number}" for number in range(JOINTS)],
            qpos=self._joints.tolist(),
            object_poses={"block": [*self._goal[:3].tolist(), 1.0, 0.0, 0.0, 0.0]},
        )

    def close(self) -> None:
        """There is nothing to free."""

    def _misbehave(self, method: str) -> dict[str, Any]:
        if self._settings.assets is None:
            return {}
        file = Path(self._settings.assets, "behaviour.json")
        behaviour: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        if behaviour.get("dies_in") == method:
            print("the last words of this process")
            os._exit(3)
        if behaviour.get("raises_in") == method:
            raise ArithmeticError("no inverse kinematics for this pose")
        if behaviour.get("hangs_in") == method:
            time.sleep(60.0)
        return behaviour
