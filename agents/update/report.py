"""What one update of the policy did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.update.losses import LossDiagnostics
from ttrl_env.agents.update.minibatches import MicroBatch


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
class UpdateReport:
    """What one update did. A field that has nothing to say, as nothing was learnt, is ``None``."""

    first: LossDiagnostics | None
    """Diagnostics of the first optimiser step, before it is taken (ratio 1, KL 0)."""
    last: LossDiagnostics | None
    """Diagnostics of the last optimiser step."""
    advantages: AdvantageStatistics | None
    """Of all chunks that were learnt from, as the loss sees them."""
    explained_variance: float | None
    """Of the returns by the value head before the update; ``None`` without a value head."""
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


def logprob_differences(batches: Iterable[MicroBatch], world: World) -> dict[str, Any]:
    """Largest and mean |rollout - update| log-probability difference of all processes' executed tokens."""
    errors = [
        (batch.old_logprobs.cpu() - batch.rollout_logprobs).abs()[batch.token_weights > 0]
        for batch in batches
        if batch.old_logprobs is not None
    ]
    joined = torch.cat(world.gather(torch.cat([torch.zeros(0), *errors])))
    largest, mean = (float(joined.max()), float(joined.mean())) if len(joined) else (0.0, 0.0)
    return {"logprob_difference": largest, "logprob_difference_mean": mean}
