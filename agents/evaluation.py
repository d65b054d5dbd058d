"""Success rates on given initial states, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ttrl_env import tasks
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.rollout import collect_rollout
from ttrl_env.tasks import Split
from ttrl_env.vector_env import TTRLVectorEnv


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One evaluated episode."""

    task_id: int
    init_state_id: int
    success: bool
    finish_step: int
    """Executed policy steps."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The episodes of an evaluation and the protocol they were played under."""

    suite: str
    init_states: str
    """Split the initial states are from; "all" contains states that training draws from."""
    temperature: float
    max_steps: int
    episodes: list[Episode]

    @property
    def success_rate(self) -> float:
        """Share of episodes that ended in success."""
        return float(np.mean([episode.success for episode in self.episodes]))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(sum(episode.success for episode in self.episodes), len(self.episodes))

    @property
    def steps_to_success(self) -> float | None:
        """Mean executed steps of the successful episodes; ``None`` if there are none."""
        steps = [episode.finish_step for episode in self.episodes if episode.success]
        return float(np.mean(steps)) if steps else None

    def of_task(self, task_id: int) -> Evaluation:
        """The evaluation restricted to one task."""
        episodes = [episode for episode in self.episodes if episode.task_id == task_id]
        return Evaluation(
            suite=self.suite,
            init_states=self.init_states,
            temperature=self.temperature,
            max_steps=self.max_steps,
            episodes=episodes,
        )

    def report(self) -> dict[str, Any]:
        """A plain dictionary for JSON: protocol, totals, one entry a task, every episode."""
        return {
            "suite": self.suite,
            "init_states": self.init_states,
            "includes_training_states": self.init_states != "held_out",
            "temperature": self.temperature,
            "max_steps": self.max_steps,
            **self._totals(),
            "tasks": {
                task_id: self.of_task(task_id)._totals()
                for task_id in sorted({episode.task_id for episode in self.episodes})
            },
            "episodes": [asdict(episode) for episode in self.episodes],
        }

    def _totals(self) -> dict[str, Any]:
        return {
            "num_episodes": len(self.episodes),
            "success_rate": self.success_rate,
            "success_rate_interval_95": list(self.interval),
            "steps_to_success": self.steps_to_success,
        }


def evaluate(
    env: TTRLVectorEnv,
    policy: TokenPolicy,
    task_ids: Sequence[int],
    *,
    init_states: Split = "held_out",
    episodes_per_task: int = 0,
    temperature: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Play each task from each initial state of the split.

    Args:
        env: rows to play on: ``n_samples=1`` and autoreset DISABLED.
        policy: the policy; greedy at ``temperature`` 0.
        task_ids: tasks of the environment's suite.
        init_states: ``"held_out"``, ``"train"`` or ``"all"``.
        episodes_per_task: only the first this many initial states; 0 takes all.
        temperature: sampling temperature.
        repeats: episodes from each initial state, with different random numbers.
        seed: seed of the token sampling.
        progress: called with finished and total episodes.
    """
    plan = repeats * [
        (task_id, state)
        for task_id in task_ids
        for state in tasks.init_state_ids(env.suite.name, task_id, init_states)[: episodes_per_task or None]
    ]
    episodes: list[Episode] = []
    for start in range(0, len(plan), env.num_envs):
        wave = plan[start : start + env.num_envs]
        idle = env.num_envs - len(wave)
        rollout = collect_rollout(
            env,
            policy,
            options={
                "task_ids": [task for task, _ in wave] + env.task_ids.tolist()[len(wave) :],
                "init_state_ids": [state for _, state in wave] + [0] * idle,
                "reset_mask": np.arange(env.num_envs) < len(wave),
            },
            seed=[seed, start],
            temperatures=np.full(env.num_envs, temperature, dtype=np.float32),
        )
        episodes.extend(
            Episode(
                task_id=task,
                init_state_id=state,
                success=bool(rollout.success[row]),
                finish_step=int(rollout.finish_steps[row]),
            )
            for row, (task, state) in enumerate(wave)
        )
        if progress is not None:
            progress(len(episodes), len(plan))
    return Evaluation(
        suite=env.suite.name,
        init_states=init_states,
        temperature=temperature,
        max_steps=env.max_steps,
        episodes=episodes,
    )


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), good for few trials and rates near 0 or 1."""
    if trials < 1:
        raise ValueError(f"trials: expected at least 1, got {trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    margin = z / (1 + z**2 / trials) * ((rate * (1 - rate) / trials + z**2 / (4 * trials**2)) ** 0.5)
    return max(centre - margin, 0.0), min(centre + margin, 1.0)
