"""Comparison of two evaluations of the same episodes, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.intervals import success_difference_interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Episodes of two policies, paired by task, initial state and repeat, so with equal random numbers."""

    temperature: float
    pairs: list[tuple[Episode, Episode]]
    """Each pair: the episode before, and the episode after."""

    def count(self, before: bool, after: bool) -> int:
        """Number of pairs with these outcomes."""
        return sum(pair[0].success == before and pair[1].success == after for pair in self.pairs)

    @property
    def difference(self) -> float:
        """Success rate after minus success rate before."""
        return (self.count(False, True) - self.count(True, False)) / len(self.pairs)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference; pairs from one initial state count as dependent."""
        before, after = zip(*((a.success, b.success) for a, b in self.pairs), strict=True)
        states = [(episode.task_id, episode.init_state_id) for episode, _ in self.pairs]
        return success_difference_interval(before, after, states)

    @property
    def verdict(self) -> str:
        """``"higher"`` or ``"lower"`` if the interval excludes 0, else ``"no difference shown"``."""
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "no difference shown"

    @property
    def steps_where_both_succeed(self) -> tuple[float, float] | None:
        """Mean steps before and after, over pairs in which both succeed; ``None`` if there are none."""
        steps = [(a.finish_step, b.finish_step) for a, b in self.pairs if a.success and b.success]
        if not steps:
            return None
        before, after = np.mean(steps, axis=0).tolist()
        return before, after

    def of_task(self, task_id: int) -> Comparison:
        """The comparison restricted to one task."""
        pairs = [pair for pair in self.pairs if pair[0].task_id == task_id]
        return Comparison(temperature=self.temperature, pairs=pairs)

    def totals(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        steps = self.steps_where_both_succeed
        return {
            "num_pairs": len(self.pairs),
            "succeed_twice": self.count(True, True),
            "gained": self.count(False, True),
            "lost": self.count(True, False),
            "fail_twice": self.count(False, False),
            "difference": self.difference,
            "difference_interval_95": list(self.interval),
            "verdict": self.verdict,
            "steps_where_both_succeed": None if steps is None else {"before": steps[0], "after": steps[1]},
        }


def compare(before: Evaluation, after: Evaluation) -> Comparison:
    """Pair the episodes of two evaluations with the same settings.

    Raises:
        ValueError: the evaluations are not of the same episodes.
    """
    mine, theirs = ({episode.start: episode for episode in each.episodes} for each in (before, after))
    if (mine.keys(), before.suite, before.temperature) != (theirs.keys(), after.suite, after.temperature):
        raise ValueError("before, after: expected evaluations of the same episodes at the same temperature")
    return Comparison(
        temperature=before.temperature, pairs=[(mine[start], theirs[start]) for start in sorted(mine)]
    )
