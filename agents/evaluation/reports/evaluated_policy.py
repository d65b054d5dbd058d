"""The subject of a report: a policy with its training history and its evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.policies.provenance import Cloning, Provenance


@dataclass(frozen=True, kw_only=True)
class EvaluatedPolicy:
    """A policy, its training history and its evaluations."""

    name: str
    """``"checkpoint"`` or ``"baseline"``."""
    policy: str
    """Path of the policy's folder."""
    provenance: Provenance | None
    """Its reinforcement learning; ``None`` if the folder belongs to no training checkpoint."""
    cloning: Cloning | None = None
    """Its demonstrations; ``None`` if its configuration does not list them."""
    evaluations: list[Evaluation]
    """One evaluation for each temperature."""
