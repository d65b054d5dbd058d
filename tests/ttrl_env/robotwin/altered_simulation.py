"""The real simulation, altered so that tests see what takes a policy or luck: success, limits, unsteadiness.

Workers load this file by its folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ttrl_env.robotwin.worker import simulation
    from ttrl_env.robotwin.worker.interface import Outcome, Start
else:
    try:  # in a worker, which knows the package by this name
        from worker import simulation
        from worker.interface import Outcome
    except ImportError:
        from ttrl_env.robotwin.worker import simulation
        from ttrl_env.robotwin.worker.interface import Outcome

PLACED_AFTER = 2
"""Actions of a chunk before objects are put where the goal holds."""

UNSTEADY_SEED = 100_000
"""A block of this seed's scene hangs in the air and spins."""

STEP_LIMIT = 6
"""The runtime's own limit, which is hundreds of steps."""


class AlteredSimulation(simulation.RoboTwinSimulation):
    """One row, whose objects are placed as the goal wants them in every chunk of more than two actions."""

    def reset(self, task: str, seed: int) -> Start:
        start = super().reset(task, seed)
        self._task.step_lim = STEP_LIMIT
        return start

    def _task_class(self, task: str) -> type[Any]:
        return _unsteady(super()._task_class(task))

    def step(self, actions: NDArray[np.float64], max_steps: int) -> Outcome:
        before = super().step(actions[:PLACED_AFTER], max_steps)
        rest = min(len(actions), max_steps) - PLACED_AFTER
        if before.failure is not None or rest <= 0:
            return before
        _PLACE[self._task.task_name](self._task)
        after = super().step(actions[PLACED_AFTER:], rest)
        return Outcome(before.executed_steps + after.executed_steps, after.success, after.failure)


def _unsteady(base: Any) -> type[Any]:
    class UnsteadyTask(base):  # type: ignore[misc]
        def load_actors(self) -> None:
            super().load_actors()
            if self.ep_num == UNSTEADY_SEED:
                [body] = [
                    part for part in self.block1.actor.get_components() if hasattr(part, "angular_velocity")
                ]
                body.disable_gravity = True
                body.angular_damping = 0.0
                _move(self.block1, (0.0, 0.0, 1.2))
                body.angular_velocity = [0.0, 0.0, 1.0]

    return UnsteadyTask


def _stack_two(task: Any) -> None:
    _move(task.block2, task.block1.get_pose().p + np.array([0.0, 0.0, 0.05]))


def _rank_three(task: Any) -> None:
    height = task.block1.get_pose().p[2]
    for block, x in ((task.block1, -0.1), (task.block2, 0.0), (task.block3, 0.1)):
        _move(block, (x, -0.1, height))


def _put_on_the_pad(task: Any) -> None:
    _move(task.box, task.target_box.get_functional_point(1, "pose").p + np.array([0.0, 0.0, 0.1]))


def _move(thing: Any, position: Any) -> None:
    """Set a box down upright at a position, metres."""
    pose = thing.get_pose()
    pose.p, pose.q = np.asarray(position, np.float32), [1.0, 0.0, 0.0, 0.0]
    thing.actor.set_pose(pose)


_PLACE = {
    "stack_blocks_two": _stack_two,
    "blocks_ranking_rgb": _rank_three,
    "handover_block": _put_on_the_pad,
}
