"""Seconds of one iteration of test-time RL, from its parts.

Rollout and update follow each other. A rollout is a number of rounds, one chunk each. In a round every active
row executes its chunk and draws its image on a core, the images are prepared and sent, and the policy decides
on the next chunk. With ``A`` active rows, ``C`` cores and ``G`` GPUs a round takes::

    ceil(A / C) (chunk_steps control_step + image)     simulation
    ceil(A / C) prepare                                preparation
    latency + ceil(A / G) message_bytes / network      transfer
    sample_pass + ceil(A / G) sample_row               policy

and an update of ``M`` chunks in ``S`` optimiser steps an epoch takes, for each epoch::

    ceil(M / G) update_chunk + S update_step
    S 2 gradient_bytes / interconnect                  averaging, with more than one GPU

Failures run to the horizon. Successes leave together, at their mean share of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scaling.parts import Parts, require


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One iteration's episodes."""

    rows: int
    """Trajectories: groups times samples."""
    horizon: int
    """Policy steps of a failed episode."""
    chunk_steps: int
    success_rate: float
    """Share of the rows that succeed, 0 to 1."""
    finish_share: float
    """Mean share of the horizon after which a success ends, 0 to 1."""
    epochs: int = 1
    optimizer_steps: int = 1
    """In each epoch."""

    def active_rows(self) -> list[int]:
        """Rows that play in each round."""
        rounds = math.ceil(self.horizon / self.chunk_steps)
        successes = round(self.rows * self.success_rate)
        until = math.ceil(rounds * self.finish_share)
        return [self.rows if index < until else self.rows - successes for index in range(rounds)]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What an iteration runs on."""

    gpus: int
    """Processes that hold the policy; on a machine without GPUs 1."""
    cores: int
    """Cores that simulate."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of an iteration, by what they are spent on."""

    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of the whole iteration."""
        return sum(self.seconds.values())

    @property
    def bottlenecks(self) -> tuple[str, str]:
        """The two parts that take longest, the longest first."""
        first, second, *_ = sorted(self.seconds, key=lambda name: -self.seconds[name])
        return first, second


def predict(parts: Parts, workload: Workload, cluster: Cluster) -> Prediction:
    """Predict an iteration.

    Args:
        parts: all of :data:`benchmarks.scaling.parts.NAMES`.
        workload: the episodes.
        cluster: GPUs and cores, each at least 1.

    Raises:
        ValueError: a part is missing, or there is no GPU or core.
    """
    if cluster.gpus < 1 or cluster.cores < 1:
        raise ValueError(f"cluster: expected at least one GPU and one core, got {cluster}")
    value = {name: part.value for name, part in require(parts).items()}
    active = [rows for rows in workload.active_rows() if rows]
    turns = sum(math.ceil(rows / cluster.cores) for rows in active)
    shares = sum(math.ceil(rows / cluster.gpus) for rows in active)
    chunks, steps = sum(active), workload.epochs * workload.optimizer_steps
    averaging = 2 * value["gradient_bytes"] / value["interconnect"] if cluster.gpus > 1 else 0.0
    return Prediction(
        seconds={
            "control steps": turns * workload.chunk_steps * value["control_step"],
            "images": turns * value["image"],
            "preparation": turns * value["prepare"],
            "transfer": len(active) * value["latency"] + shares * value["message_bytes"] / value["network"],
            "policy": len(active) * value["sample_pass"] + shares * value["sample_row"],
            "update": workload.epochs * math.ceil(chunks / cluster.gpus) * value["update_chunk"]
            + steps * (value["update_step"] + averaging),
        }
    )
