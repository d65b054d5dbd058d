"""The tasks that a policy was trained on, compared with those it is to play.

A policy that is played on another suite than its own fails without an error. On LIBERO-PRO's changes of its
suite it half-succeeds: they are what test-time RL is for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from ttrl_env.errors import ConfigError, OtherTasksWarning
from ttrl_env.tasks import get_suite, get_task, original_suite

TaskIds = Mapping[str, Sequence[int]]
"""Ids of tasks, by suite; see :func:`ttrl_env.agents.policies.origin.tasks_of`."""


def the_only_suite(policy: str, known: TaskIds) -> str | None:
    """The suite that a policy knows; ``None`` if it does not say.

    Raises:
        ConfigError: it knows several, so the one to play must be named.
    """
    if len(known) > 1:
        raise ConfigError(
            f"env.suite: {policy} was trained on several suites, {', '.join(known)}; name the one to play, "
            f"e.g. env.suite={next(iter(known))}"
        )
    return next(iter(known), None)


def describe_training(policy: str, known: TaskIds, suite: str, task_ids: Sequence[int]) -> str:
    """What a policy was trained on, in words, beside the tasks it is to play.

    Gives an :class:`OtherTasksWarning` for a suite that is neither one of the policy's nor a change of one,
    and for tasks of its suite that it was not trained on.
    """
    suite = get_suite(suite).name
    if not known:
        return "does not say what it was trained on"
    related = [own for own in known if original_suite(own) == original_suite(suite)]
    if not related:
        _warn(
            f"{policy} was trained on {' and '.join(known)}, and env.suite={suite} is another suite: expect "
            f"no success. To play its own, leave env.suite out"
        )
        return f"trained on {' and '.join(known)}"
    own = suite if suite in related else related[0]
    new = [task_id for task_id in task_ids if task_id not in known[own]]
    if new:
        _warn(
            f"{policy} was trained on {_numbers(known[own])} of {own}; env.task_ids: {_numbers(new)} of "
            f"{suite} is new to it"
        )
    trained = f"trained on {own}, {_numbers(known[own])}"
    if own == suite:
        return trained
    if own == original_suite(suite):
        return f"{trained}; {suite} is LIBERO-PRO's change of it, which test-time RL is for"
    return f"{trained}; {suite} has the same tasks, otherwise changed"


def describe_tasks(suite: str, task_ids: Sequence[int]) -> str:
    """The tasks that are played, in words; of a single one, the instruction."""
    if len(task_ids) > 1:
        return f"{suite}, {_numbers(task_ids)}"
    return f"{suite}, {_numbers(task_ids)}: {get_task(suite, task_ids[0]).instruction!r}"


def _warn(message: str) -> None:
    warnings.warn(message, OtherTasksWarning, stacklevel=3)


def _numbers(task_ids: Sequence[int]) -> str:
    """Task ids in words: ``task 3``, ``tasks 0 to 9``, ``tasks 0, 1, 3``."""
    if len(task_ids) == 1:
        return f"task {task_ids[0]}"
    first, last = min(task_ids), max(task_ids)
    if len(task_ids) == last - first + 1 > 2:
        return f"tasks {first} to {last}"
    return f"tasks {', '.join(map(str, task_ids))}"
