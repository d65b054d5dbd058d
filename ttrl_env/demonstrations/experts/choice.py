"""Selects the scripted skill that solves a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.experts.close_drawer import CloseTopDrawer
from ttrl_env.demonstrations.experts.pick_place import PickPlace
from ttrl_env.demonstrations.experts.scene import Scene
from ttrl_env.demonstrations.experts.turn_knob import TurnKnobOn
from ttrl_env.engines.interface import SimState
from ttrl_env.errors import UnknownNameError
from ttrl_env.goals import Predicate, read_goal
from ttrl_env.libero_tasks import LiberoTask


class Expert(Protocol):
    """A scripted policy for one task."""

    def act(self, observation: Mapping[str, NDArray[Any]], state: SimState) -> NDArray[np.float32]:
        """The action for the present observation and state.

        Args:
            observation: one row of the environment's observation (``robot0_eef_pos`` ``[3]`` and so on).
            state: the same row's physical state.

        Returns:
            ``[7]`` float32 action, every entry in [-1, 1].
        """


def make_expert(task: LiberoTask, fixture_seed: int = 0) -> Expert:
    """The expert that reaches a task's goal, or :class:`UnknownNameError` if there is none.

    Args:
        task: the task.
        fixture_seed: the environment's ``fixture_seed``, which decides where fixtures stand.
    """
    if not has_skill(task):
        raise _no_expert(task)
    (predicate,) = read_goal(task)
    skill, arguments = find_skill(predicate), predicate.arguments
    if skill == "close_top_drawer":
        return CloseTopDrawer()
    scene = Scene(task, fixture_seed)
    if skill == "turn_knob_on":
        return TurnKnobOn(scene=scene, knob=scene.body(f"{arguments[0]}_button"))
    inside = predicate.name == "in"
    if inside and scene.slides(arguments[1]):  # the drawers named in goals start closed
        raise _no_expert(task)
    return PickPlace(scene, *arguments, inside=inside)


def has_skill(task: LiberoTask) -> bool:
    """Whether a scripted expert exists for a task's goal; reads the BDDL file only and compiles no model."""
    predicates = read_goal(task)
    if len(predicates) != 1 or find_skill(predicates[0]) is None:
        return False
    in_a_drawer = predicates[0].name == "in" and "_cabinet_" in predicates[0].arguments[1]
    return not in_a_drawer  # drawers start closed


def _no_expert(task: LiberoTask) -> UnknownNameError:
    predicates = read_goal(task)
    return UnknownNameError(
        f"task: no scripted expert for {task.suite} task {task.task_id}, {task.instruction!r}. Its goal is "
        f"{' and '.join(map(str, predicates))}; the scripted experts reach goals of one "
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
