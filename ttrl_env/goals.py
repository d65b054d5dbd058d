"""A task's goal, read from its BDDL file."""

from __future__ import annotations

import re
from typing import NamedTuple

from ttrl_env.libero_tasks import LiberoTask


class Predicate(NamedTuple):
    """One condition of a goal, such as ``in(milk_1, basket_1_contain_region)``."""

    name: str
    """LIBERO's predicate, in lower case: in, on, open, close, turnon, turnoff."""
    arguments: tuple[str, ...]
    """Objects, fixtures and regions by their names in the simulation."""

    def __str__(self) -> str:
        """The usual notation, such as ``on(bowl_1, plate_1)``."""
        return f"{self.name}({', '.join(self.arguments)})"


def read_goal(task: LiberoTask) -> tuple[Predicate, ...]:
    """The predicates that must all hold for the task to be solved, in the order of the BDDL file."""
    text = task.bddl_file.read_text(encoding="utf-8")
    _, found, goal = text.lower().partition("(:goal")
    predicates = [entry.split() for entry in re.findall(r"\(([^()]+)\)", goal)]
    if not found or not predicates:
        raise ValueError(f"{task.bddl_file}: no (:goal (And (...) ...)) clause; is this a LIBERO task file?")
    return tuple(Predicate(name, tuple(arguments)) for name, *arguments in predicates)
