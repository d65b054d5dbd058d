"""The training runs of our own that forecasts are calibrated on: ``measured_runs.jsonl``, a run a line.

``python -m benchmarks.preview_runs`` makes the file of recorded runs, and adds further ones.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

FILE = "measured_runs.jsonl"


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """How often a run succeeded in each of its rollouts, and with which settings."""

    name: str
    """Experiment, arm and seed."""
    policy: str
    """What it started from."""
    kind: str
    """Kind of policy, as in its ``config.json``."""
    suite: str
    task_ids: tuple[int, ...]
    max_steps: int
    """Horizon in policy steps."""
    advantage: str
    learning_rate: float
    epochs: int
    rollout_episodes: int
    """Episodes of each rollout."""
    successes: tuple[int, ...]
    """Successful episodes of each rollout."""

    @property
    def start(self) -> tuple[str, str, tuple[int, ...]]:
        """Policy and tasks: runs in which both are the same start alike."""
        return self.policy, self.suite, self.task_ids

    @property
    def episodes_each(self) -> float:
        """Episodes of a rollout for each of the tasks."""
        return self.rollout_episodes / len(self.task_ids)

    @property
    def episodes_per_task(self) -> float:
        """Episodes of the whole run for each of its tasks."""
        return len(self.successes) * self.episodes_each


@cache
def read_measured_runs() -> tuple[MeasuredRun, ...]:
    """The runs that come with the package."""
    text = (importlib.resources.files(__package__) / FILE).read_text(encoding="utf-8")
    return tuple(_run(json.loads(line)) for line in text.splitlines())


def _run(values: dict[str, Any]) -> MeasuredRun:
    lists = {name: tuple(values[name]) for name in ("task_ids", "successes")}
    return MeasuredRun(**{**values, **lists})
