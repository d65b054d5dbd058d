"""Compiled tasks on the way to actors: a node that lacks a task gets the driver's, if that has one."""

from __future__ import annotations

from collections.abc import Iterable

from ttrl_env import libero_tasks
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.task.locations import bundle_files, bundle_folder
from ttrl_env.engines.ray_actors.actor import Actor
from ttrl_env.engines.ray_actors.simulator import digest_of_init_states

PART_BYTES = 16 * 2**20
"""Size of the parts in which files go through the object store; a whole task has a quarter of a gigabyte."""


def bring_tasks(actor: Actor, config: EngineConfig, task_ids: Iterable[int]) -> None:
    """See to it that an actor need not compile tasks that this process has compiled.

    What neither has, the actor compiles when it is first reset to it.
    """
    import ray

    for task_id in sorted(set(task_ids) - actor.tasks):
        place = bundle_folder(libero_tasks.get_task(config.suite, task_id), config.fixture_seed)
        init_states = digest_of_init_states(config.suite, task_id)
        if actor.answer(actor.ask("lacks", task_id, place.name, init_states)):
            files = bundle_files(place)
            for name, content in (files or {}).items():
                for begin in range(0, len(content), PART_BYTES):  # one at a time: object stores may be small
                    part = ray.put(content[begin : begin + PART_BYTES])
                    actor.answer(actor.ask("receive", name, part))
            if files:
                actor.answer(actor.ask("keep", task_id))
        actor.tasks.add(task_id)
