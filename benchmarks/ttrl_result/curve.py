"""Success on held-out states as training goes on, and the episodes that a level of it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttrl_env.agents.training.metrics import EVALUATIONS_FILE, METRICS_FILE, read_records


def held_out_curve(folder: Path) -> list[dict[str, int]]:
    """A run's evaluations during training, the one before it first.

    Each has ``trained_on``, the episodes that the policy had learnt from, and ``num_episodes`` and
    ``num_successes`` of the evaluation.
    """
    played = [0]
    for record in read_records(folder, METRICS_FILE):
        played.append(played[-1] + len(record["rollout/success"]))
    return [
        {
            "trained_on": played[record["iteration"]],
            "num_episodes": record["num_episodes"],
            "num_successes": record["num_successes"],
        }
        for record in read_records(folder, EVALUATIONS_FILE)
    ]


def episodes_to(level: float, curve: Sequence[dict[str, Any]]) -> float | None:
    """Training episodes after which success first reaches ``level``; ``None`` if it never does.

    Between two evaluations success is taken to rise in a straight line.
    """
    before: tuple[float, float] | None = None
    for point in curve:
        here = (float(point["trained_on"]), point["num_successes"] / point["num_episodes"])
        if here[1] >= level:
            if before is None:
                return here[0]
            share = (level - before[1]) / (here[1] - before[1])
            return before[0] + share * (here[0] - before[0])
        before = here
    return None
