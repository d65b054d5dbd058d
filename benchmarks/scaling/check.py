"""The model against finished runs of ``ttrl train`` on one core."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.model import Cluster, Workload, predict
from benchmarks.scaling.parts import Parts
from ttrl_env.agents.training.metrics import read_records

CHUNK = 8

SIDES = {
    "simulation": ("control steps", "images"),
    "policy": ("preparation", "policy"),
    "update": ("update",),
}
"""What a run's ``seconds/NAME`` is in the model. ``prepare`` counts as the policy's, as in the metrics."""


def summarise(folder: Path, name: str) -> dict[str, Any]:
    """What the check needs of a run: its workload, and the seconds of each iteration.

    Raises:
        ValueError: the folder has no finished iteration.
    """
    records = [each for each in read_records(folder, "metrics.jsonl") if "seconds/update" in each]
    if not records:
        raise ValueError(f"{folder}: expected a run of ttrl train with a finished iteration")
    return {"name": name, "iterations": [_iteration(record) for record in records]}


def _iteration(record: dict[str, Any]) -> dict[str, Any]:
    success, finish = record["rollout/success"], record["rollout/finish_steps"]
    horizon = max(finish)
    finished = [steps / horizon for steps, done in zip(finish, success, strict=True) if done]
    return {
        "rows": len(success),
        "horizon": horizon,
        "success_rate": sum(success) / len(success),
        "finish_share": statistics.mean(finished) if finished else 1.0,
        "optimizer_steps": record["update/steps"],
        "learnt_chunks": record["update/chunks"],
        "played_chunks": sum(math.ceil(steps / CHUNK) for steps in finish),
        "seconds": {side: record[f"seconds/{side}"] for side in SIDES},
    }


def ratios(parts: Parts, run: dict[str, Any]) -> dict[str, float]:
    """Measured over predicted seconds of a run's fastest iteration, by side and ``total``.

    The fastest, as the others were slowed by what else the machine did.
    """
    fastest = min(run["iterations"], key=lambda each: sum(each["seconds"].values()))
    predicted = predicted_seconds(parts, fastest)
    found = {side: fastest["seconds"][side] / predicted[side] for side in SIDES}
    return {**found, "total": sum(fastest["seconds"].values()) / sum(predicted.values())}


def predicted_seconds(parts: Parts, iteration: dict[str, Any]) -> dict[str, float]:
    """The model's seconds of one iteration on one core, by side; each epoch takes one optimiser step."""
    workload = Workload(
        rows=iteration["rows"],
        horizon=iteration["horizon"],
        chunk_steps=CHUNK,
        success_rate=iteration["success_rate"],
        finish_share=iteration["finish_share"],
        epochs=iteration["optimizer_steps"],
    )
    seconds = predict(parts, workload, Cluster(gpus=1, cores=1)).seconds
    return {side: sum(seconds[name] for name in names) for side, names in SIDES.items()}


def spread(parts: Parts, runs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The lowest and highest ratio of measured to predicted totals, over the runs."""
    totals = [ratios(parts, run)["total"] for run in runs]
    return min(totals), max(totals)
