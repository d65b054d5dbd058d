"""What one update of the policy did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.update.critic import CriticReport
from ttrl_env.agents.update.losses import LossDiagnostics
from ttrl_env.agents.update.minibatches import MicroBatch, own_batches
from ttrl_env.agents.update.targets import Targets


@dataclass(frozen=True, kw_only=True)
class AdvantageStatistics:
    """Over the chunks that were learnt from."""

    mean: float
    std: float
    min: float
    max: float

    @classmethod
    def of(cls, advantages: NDArray[np.float64]) -> AdvantageStatistics:
        """Statistics of an array of at least one advantage."""
        return cls(
            mean=float(advantages.mean()),
            std=float(advantages.std()),
            min=float(advantages.min()),
            max=float(advantages.max()),
        )


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What came of one minibatch."""

    diagnostics: LossDiagnostics
    """Of all processes, before the step."""
    grad_norm: float = math.nan
    """Of the policy before clipping; NaN if the step was not taken."""
    too_far: bool = False
    """Whether the policy had moved too far before it, so that the update ended."""


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What one update did. A field that has nothing to say, as nothing was learnt, is ``None``."""

    first: LossDiagnostics | None
    """Diagnostics of the first optimiser step, before it is taken (ratio 1, KL 0)."""
    last: LossDiagnostics | None
    """Diagnostics of the last optimiser step, or of the one that ``target_kl`` left out."""
    advantages: AdvantageStatistics | None
    """Of all chunks that were learnt from, as the loss sees them."""
    explained_variance: float | None
    """Of the returns by value head or critic before the update; ``None`` without either."""
    critic: CriticReport | None
    """How well the critic predicted the rollout; ``None`` without one."""
    logprob_difference: float
    """Largest |rollout - update| log-probability difference before the first step, nats."""
    logprob_difference_mean: float
    """Mean of it over executed tokens."""
    grad_norm: float
    """Largest gradient norm of the policy before clipping."""
    steps: int
    """Optimiser steps taken."""
    skipped_steps: int
    """Optimiser steps left out because loss or gradient was not finite."""
    stopped_early: bool
    """Whether ``target_kl`` left out the remaining steps."""
    dropped_groups: int
    """Groups without reward spread: no gradient, so not computed."""
    chunks: int
    """Chunks learnt from in each pass."""
    micro_batch_chunks: int
    """Chunks of one forward and backward pass, at most."""
    seconds: float
    """Wall time."""

    @property
    def warning(self) -> str | None:
        """A sentence for the user where steps were skipped, else ``None``."""
        if not self.skipped_steps:
            return None
        return (
            f"{self.skipped_steps} of {self.steps + self.skipped_steps} optimiser steps skipped: their "
            f"loss or gradient was not finite"
        )


def report_update(
    rollout: Rollout,
    learning: NDArray[np.int64],
    minibatches: Sequence[Sequence[MicroBatch]],
    targets: Targets | None,
    steps: Sequence[StepReport],
    *,
    micro_batch_chunks: int,
    seconds: float,
    world: World,
) -> UpdateReport:
    """The report of all processes.

    Args:
        rollout: what this process learnt from.
        learning: its trajectories that were not dropped.
        minibatches: their chunks.
        targets: of the rollout's chunks; ``None`` if no process has any minibatches.
        steps: in their order.
        micro_batch_chunks: chunks of one pass, at most.
        seconds: wall time.
        world: the processes.
    """
    batches = own_batches(minibatches)
    dropped = len(np.unique(rollout.groups)) - len(np.unique(rollout.groups[learning]))
    own = (dropped, _logprob_errors(batches), _learnt_advantages(batches, targets))
    all_dropped, all_errors, all_advantages = zip(*world.gather(own), strict=True)
    errors, advantages = torch.cat(all_errors), np.concatenate(all_advantages)
    norms = [step.grad_norm for step in steps if math.isfinite(step.grad_norm)]
    stopped_early = any(step.too_far for step in steps)
    return UpdateReport(
        first=steps[0].diagnostics if steps else None,
        last=steps[-1].diagnostics if steps else None,
        advantages=AdvantageStatistics.of(advantages) if len(advantages) else None,
        explained_variance=None if targets is None else targets.explained_variance,
        critic=None if targets is None else targets.critic,
        logprob_difference=float(errors.max()) if len(errors) else 0.0,
        logprob_difference_mean=float(errors.mean()) if len(errors) else 0.0,
        grad_norm=max(norms, default=0.0),
        steps=len(norms),
        skipped_steps=len(steps) - len(norms) - stopped_early,
        stopped_early=stopped_early,
        dropped_groups=sum(all_dropped),
        chunks=len(advantages),
        micro_batch_chunks=micro_batch_chunks,
        seconds=seconds,
    )


def _logprob_errors(batches: Iterable[MicroBatch]) -> Tensor:
    """|rollout - update| log-probability difference of every executed token, one axis."""
    errors = [
        (batch.old_logprobs.cpu() - batch.rollout_logprobs).abs()[batch.token_weights > 0]
        for batch in batches
        if batch.old_logprobs is not None
    ]
    return torch.cat([torch.zeros(0), *errors])


def _learnt_advantages(batches: Iterable[MicroBatch], targets: Targets | None) -> NDArray[np.float64]:
    """The advantage of every chunk that was learnt from."""
    if targets is None:
        return np.empty(0)
    return np.concatenate([np.empty(0), *(targets.advantages[batch.chunks.numpy()] for batch in batches)])
