"""Which skill solves a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.experts.close_drawer import CloseTopDrawer
from ttrl_env.agents.experts.goal import Predicate, read_goal
from ttrl_env.agents.experts.pick_place import PickPlace
from ttrl_env.agents.experts.scene import Scene
from ttrl_env.agents.experts.turn_knob import TurnKnobOn
from ttrl_env.errors import UnknownNameError
from ttrl_env.simulation import SimState
from ttrl_env.tasks import Task


class Expert(Protocol):
    """Solves one kind of task."""

    def act(self, observation: Mapping[str, NDArray], state: SimState) -> NDArray[np.float32]:
        """What to do now.

        Args:
            observation: one row of the environment's observation (``robot0_eef_pos`` ``[3]`` and so on).
            state: the same row's physical state.

        Returns:
            ``[7]`` float32 action, every entry in [-1, 1].
        """


def make_expert(task: Task, fixture_seed: int = 0) -> Expert:
    """The expert that reaches a task's goal, or :class:`UnknownNameError` if there is none.

    Args:
        task: the task.
        fixture_seed: the environment's: experts know where its fixtures stand.
    """
    predicates = read_goal(task)
    skill = find_skill(predicates[0]) if len(predicates) == 1 else None
    arguments = predicates[0].arguments
    if skill == "close_top_drawer":
        return CloseTopDrawer()
    scene = Scene(task, fixture_seed) if skill else None
    if scene and skill == "turn_knob_on":
        return TurnKnobOn(scene=scene, knob=scene.body(f"{arguments[0]}_button"))
    inside = predicates[0].name == "in"
    if scene and not (inside and scene.slides(arguments[1])):  # the drawers that goals name are shut
        return PickPlace(scene, *arguments, inside=inside)
    raise UnknownNameError(
        f"task: no scripted expert for {task.suite} task {task.task_id}, {task.instruction!r}. Its goal is "
        f"{' and '.join(map(str, predicates))}; the experts of ttrl_env.agents.experts reach goals of one "
        f"predicate each: an object on something or in a container, a stove on, the top drawer closed"
    )


def find_skill(predicate: Predicate) -> str | None:
    """The name of the skill that makes a predicate true, or ``None``."""
    if predicate.name in ("on", "in"):
        return "pick_place"
    if predicate.name == "turnon":
        return "turn_knob_on"
    if predicate.name == "close" and predicate.arguments[0].endswith("_cabinet_1_top_region"):
        return "close_top_drawer"
    return None
