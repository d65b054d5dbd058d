"""The tasks of the experiment, and the policy that half-knows them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.agents.behaviour_cloning import clone_behaviour
from ttrl_env.agents.demonstrations import record_demonstrations
from ttrl_env.agents.experts import Expert, make_expert
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig
from ttrl_env.simulation import SimState


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tasks that are adapted to together."""

    name: str
    title: str
    suite: str
    task_ids: tuple[int, ...]
    max_steps: int
    """Horizon in policy steps."""
    training: tuple[str, ...]
    """Training overrides that all arms share."""
    iterations: int
    make_policy: Callable[[Family], TinyVLA]
    """Makes the policy that every arm and seed starts from."""

    def warm_start(self, folder: Path) -> Path:
        """The folder of the policy to start from, made on first use; written whole or not at all."""
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
                self.make_policy(self).save_pretrained(draft)
                os.rename(draft, folder)
                os.mkdir(draft)  # for the context manager to remove
        return folder


class _Unhurried:
    """An expert at a fraction of its speed, as people are who demonstrate with a joystick."""

    def __init__(self, expert: Expert, speed: float) -> None:
        self._expert, self._speed = expert, speed

    def act(self, observation: Mapping[str, NDArray], state: SimState) -> NDArray[np.float32]:
        """See :meth:`ttrl_env.agents.experts.Expert.act`."""
        action = self._expert.act(observation, state).copy()
        action[:6] *= self._speed
        return action


def _clone_unhurried(family: Family, num_episodes: int, steps: int, speed: float) -> TinyVLA:
    """A TinyVLA cloned from few, slow demonstrations of the family's one task."""
    (task_id,) = family.task_ids
    expert = _Unhurried(make_expert(tasks.get_task(family.suite, task_id)), speed)
    demonstrations = record_demonstrations(family.suite, task_id, num_episodes=num_episodes, expert=expert)
    torch.manual_seed(0)
    policy = TinyVLA(TinyVLAConfig())
    clone_behaviour(policy, demonstrations, steps=steps)
    return policy


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="drawer",
            title="close the top drawer (libero_90 task 0)",
            suite="libero_90",
            task_ids=(0,),
            max_steps=80,
            training=("env.num_groups=4", "env.n_samples=8", "ppo.epochs=4", "ppo.learning_rate=1e-4"),
            iterations=40,
            make_policy=partial(_clone_unhurried, num_episodes=2, steps=100, speed=0.5),
        ),
    )
}
"""Every family by name."""
