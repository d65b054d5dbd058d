"""Measure how often a task's expert succeeds, without rendering images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from ttrl_env import libero_tasks
from ttrl_env.demonstrations.experts import make_expert
from ttrl_env.demonstrations.playing import play
from ttrl_env.demonstrations.recording import SETTLE_STEPS
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.engines.native.threads import ThreadPool, wait_for
from ttrl_env.libero_tasks import LiberoTask


class CheckedEpisode(NamedTuple):
    """The outcome of one episode."""

    init_state_id: int
    success: bool
    steps: int
    """Policy steps until success, or the horizon if the task was not solved."""


def check_expert(
    task: LiberoTask,
    init_state_ids: Sequence[int],
    *,
    noise: float = 0.0,
    seed: int = 0,
    num_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[CheckedEpisode]:
    """Play a task's expert once from each initial state, within the task's horizon."""
    make_expert(task)  # a task without one raises before it is compiled
    bundle = load_bundle(task)

    def episode(renderer: Renderer, init_state_id: int) -> CheckedEpisode:
        replica = Replica(bundle)
        replica.reset(libero_tasks.init_states(task.suite, task.task_id)[init_state_id], SETTLE_STEPS)
        rng = np.random.default_rng([seed, init_state_id])
        played = play(replica, make_expert(task), max_steps=task.horizon, noise=noise, rng=rng)
        return CheckedEpisode(init_state_id, played.success, len(played))

    pool = ThreadPool(num_workers, image_size=1)
    with closing(pool):
        jobs = [partial(episode, init_state_id=state) for state in init_state_ids]
        futures = pool.start(jobs, [range(num_workers)] * len(jobs))
        for done, future in enumerate(futures, start=1):
            future.result()
            if progress is not None:
                progress(done, len(jobs))
        return wait_for(futures)
