"""One run of the experiment: train an arm from a seed, then evaluate it beside the policy it started from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.ttrl_result.arms import Arm
from benchmarks.ttrl_result.curve import held_out_curve
from benchmarks.ttrl_result.families import Family
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.versions import installed_versions
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.evaluation.reports.run import evaluate_checkpoints
from ttrl_env.agents.training.metrics import METRICS_FILE, read_records
from ttrl_env.agents.training.train import train
from ttrl_env.machine.whole_files import write_whole

RESULT_FILE = "result.json"
"""Written last, so it exists only for finished runs."""


def run(
    family: Family, arm: Arm, seed: int, folder: Path, iterations: int, display: Display
) -> dict[str, Any]:
    """Run or continue a run in ``folder``, and return its result; a finished run is only read."""
    result_file = folder / RESULT_FILE
    if result_file.is_file():
        return json.loads(result_file.read_text(encoding="utf-8"))
    started = time.perf_counter()
    config = load_config(TrainConfig, _training(family, arm, seed, folder, iterations))
    checkpoint = train(config, display)
    records = read_records(folder, METRICS_FILE)
    if len(records) < iterations:
        raise KeyboardInterrupt  # Ctrl-C ends training with a checkpoint and no error
    report = evaluate_checkpoints(load_config(EvaluateConfig, _evaluation(family, folder)), display)
    result = {
        "family": family.name,
        "arm": arm.name,
        "seed": seed,
        "iterations": iterations,
        "episodes": sum(len(record["rollout/success"]) for record in records),
        "training_seconds": sum(
            record[f"seconds/{part}"] for record in records for part in ("simulation", "policy", "update")
        ),
        "wall_seconds_of_this_sitting": time.perf_counter() - started,
        "checkpoint": checkpoint.name,
        "overrides": settings(family, arm),
        "versions": installed_versions(),
        "protocol": report["protocol"],
        "evaluations": report["evaluations"],
        "comparisons": report["comparisons"],
        "held_out_curve": held_out_curve(folder) if family.evaluate_every else [],
        "training_success": [record["rollout/success_rate"] for record in records],
        "training_steps_to_success": [record["rollout/steps_to_success"] for record in records],
    }
    write_whole(result_file, json.dumps(result) + "\n")
    return result


def settings(family: Family, arm: Arm) -> list[str]:
    """Training overrides: the groups, those of the family that the arm does not set itself, the arm's."""
    set_by_arm = {override.partition("=")[0] for override in arm.overrides}
    common = (f"base_temperature={family.temperature}", *family.training)
    shared = [override for override in common if override.partition("=")[0] not in set_by_arm]
    groups = [f"env.num_groups={family.rows_per_update // arm.n_samples}", f"env.n_samples={arm.n_samples}"]
    return [*groups, *shared, *arm.overrides]


def _training(family: Family, arm: Arm, seed: int, folder: Path, iterations: int) -> list[str]:
    return [
        "preset=tiny-cpu",
        *_tasks(family),
        *settings(family, arm),
        f"iterations={iterations}",
        f"seed={seed}",
        f"policy.path='{family.policy}'",
        f"output_dir='{folder}'",
        "resume=auto",
        "checkpoint_every=5",
        f"eval.every={family.evaluate_every}",
        f"eval.temperature={family.temperature}",
        # without a curve one state is enough: the report below evaluates on all of them
        f"eval.episodes_per_task={0 if family.evaluate_every else 1}",
    ]


def _evaluation(family: Family, folder: Path) -> list[str]:
    return [
        f"checkpoint='{folder}'",
        f"baseline='{family.policy}'",
        f"output='{folder / 'report'}'",
        "videos=0",
        *_tasks(family),
        f"eval.temperatures=[0,{family.temperature}]",
        f"eval.repeats={family.repeats}",
    ]


def _tasks(family: Family) -> list[str]:
    return [
        f"env.suite={family.suite}",
        f"env.task_ids=[{','.join(map(str, family.task_ids))}]",
        f"env.max_steps={family.max_steps}",
    ]
