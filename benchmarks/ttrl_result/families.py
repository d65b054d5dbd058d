"""The tasks of the experiment, and the policy that half-knows them."""

from __future__ import annotations

import shutil
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
from ttrl_env.agents.demonstrations.dataset import RecordingSettings, record_dataset
from ttrl_env.agents.experts import Expert, make_expert
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig
from ttrl_env.agents.pretraining import POLICY, pretrain
from ttrl_env.agents.pretraining_config import load_pretrain_config
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
    make_policy: Callable[[Family, Path], Path]
    """Makes the policy that every arm and seed starts from, in a folder, unless it is there; returns the
    policy's own folder. Interrupted, it goes on or starts again when called again."""


class _Unhurried:
    """An expert at a fraction of its speed, as people are who demonstrate with a joystick."""

    def __init__(self, expert: Expert, speed: float) -> None:
        self._expert, self._speed = expert, speed

    def act(self, observation: Mapping[str, NDArray], state: SimState) -> NDArray[np.float32]:
        """See :meth:`ttrl_env.agents.experts.Expert.act`."""
        action = self._expert.act(observation, state).copy()
        action[:6] *= self._speed
        return action


def _clone_unhurried(family: Family, folder: Path, *, num_episodes: int, steps: int, speed: float) -> Path:
    """A TinyVLA cloned from few, slow demonstrations of the family's one task."""
    if (folder / "policy").is_dir():
        return folder / "policy"
    (task_id,) = family.task_ids
    expert = _Unhurried(make_expert(tasks.get_task(family.suite, task_id)), speed)
    demonstrations = record_demonstrations(family.suite, task_id, num_episodes=num_episodes, expert=expert)
    torch.manual_seed(0)
    policy = TinyVLA(TinyVLAConfig())
    clone_behaviour(policy, demonstrations, steps=steps)
    shutil.rmtree(folder / "draft", ignore_errors=True)
    policy.save_pretrained(folder / "draft")
    (folder / "draft").rename(folder / "policy")
    return folder / "policy"


def _pretrain(family: Family, folder: Path, *, num_episodes: int, steps: int) -> Path:
    """A TinyVLA cloned from a few demonstrations of each task, as ``ttrl demos`` and ``ttrl pretrain`` do."""
    settings = RecordingSettings(cameras=("agentview",), shift=0.01)
    for task_id in family.task_ids:
        record_dataset(tasks.get_task(family.suite, task_id), folder / "demos", num_episodes, settings)
    overrides = [f"data=['{folder / 'demos'}']", f"output_dir='{folder / 'pretrained'}'", f"steps={steps}"]
    pretrain(load_pretrain_config([*overrides, "policy.proprioception=true", "keep=last"]), say=print)
    return folder / "pretrained" / POLICY


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
        Family(
            name="object",
            title="pick up one of four things and place it in the basket (libero_object tasks 0 to 3)",
            suite="libero_object",
            task_ids=(0, 1, 2, 3),
            max_steps=140,
            training=("env.num_groups=4", "env.n_samples=8", "ppo.epochs=4", "ppo.learning_rate=1e-4"),
            iterations=100,
            make_policy=partial(_pretrain, num_episodes=5, steps=400),
        ),
    )
}
"""Every family by name."""
