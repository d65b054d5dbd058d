"""What a report is about: a checkpoint, where it came from, and its evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.reports.provenance import Cloning, Provenance


@dataclass(frozen=True, kw_only=True)
class EvaluatedPolicy:
    """A checkpoint and its evaluations."""

    name: str
    """``"checkpoint"`` or ``"baseline"``."""
    policy: str
    """The policy folder evaluated."""
    provenance: Provenance | None
    """What reinforcement learning it had; ``None`` if it does not say."""
    cloning: Cloning | None = None
    """What it was cloned from; ``None`` if it does not say."""
    evaluations: list[Evaluation]
    """One a temperature."""
