"""Compiled tasks on the way to actors: a node that lacks a task gets the driver's, if that has one."""

from __future__ import annotations

from collections.abc import Iterable

from ttrl_env import tasks
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.native.task.locations import bundle_files, bundle_folder
from ttrl_env.engines.ray_actors.actor import Actor
from ttrl_env.engines.ray_actors.simulator import digest_of_init_states


def bring_tasks(actor: Actor, config: EngineConfig, task_ids: Iterable[int]) -> None:
    """See to it that an actor need not compile tasks that this process has compiled.

    What neither has, the actor compiles when it is first reset to it.
    """
    import ray

    for task_id in sorted(set(task_ids) - actor.tasks):
        place = bundle_folder(tasks.get_task(config.suite, task_id), config.fixture_seed)
        init_states = digest_of_init_states(config.suite, task_id)
        if actor.answer(actor.ask("lacks", task_id, place.name, init_states)):
            files = bundle_files(place)
            if files:
                actor.answer(actor.ask("keep", task_id, ray.put(files)))
        actor.tasks.add(task_id)
