"""What a model card says of evaluations: those of a report, or those made during a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.evaluation.evaluate import recorded_interval
from ttrl_env.agents.policies.model_card import Measured
from ttrl_env.errors import CheckpointError
from ttrl_env.libero_version import is_version
from ttrl_env.suites import ROBOTWIN

REPORT = "report.json"


def measured_in_report(report: Path, policy: Path) -> list[Measured]:
    """The evaluations of the policy in a folder, from the folder of its report.

    Raises:
        CheckpointError: there is no report, it is of another policy, or it is not in the format of
            ``ttrl eval``.
    """
    content = read_own_json(report, REPORT, "report")
    try:
        evaluated = content["checkpoints"]["checkpoint"]["policy"]
        protocol = content["protocol"]
        found = [
            _measured({**protocol, **each}, protocol["task_ids"], protocol["mujoco"])
            for each in content["evaluations"]
            if each["checkpoint"] == "checkpoint"
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"report: {report / REPORT}: expected what ttrl eval writes ({type(error).__name__}: {error})"
        ) from error
    if evaluated != str(policy.resolve()):
        raise CheckpointError(
            f"report: {report / REPORT} is of the policy in {evaluated!r:.200}, not of {policy.resolve()}. "
            f"Evaluate this one: ttrl eval {policy} output=FOLDER"
        )
    return found


def measured_in_training(
    records: list[dict[str, Any]], iteration: int, versions: Mapping[str, str]
) -> list[Measured]:
    """The evaluation that a run has recorded after ``iteration`` iterations, if it has made one.

    Raises:
        CheckpointError: the record is not in the format of ``ttrl train``.
    """
    try:
        return [
            _measured(each, each["tasks"], versions.get("mujoco"))
            for each in records
            if each["iteration"] == iteration
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"evaluations.jsonl: expected what ttrl train writes ({type(error).__name__}: {error})"
        ) from error


def _measured(values: Mapping[str, Any], task_ids: Any, mujoco: Any) -> Measured:
    """Make it from JSON values; raises if one is absent, or is no number where one is expected."""
    limits = recorded_interval(values)
    # a limit that is 0 or 1 has been computed in floating point
    low, rate, high = (round(float(each), 9) for each in (limits[0], values["success_rate"], limits[1]))
    if not 0 <= low <= rate <= high <= 1:
        raise ValueError(f"expected rates from 0 to 1 in order, got {low}, {rate}, {high}")
    return Measured(
        suite=str(values["suite"]),
        task_ids=tuple(int(task_id) for task_id in task_ids),
        init_states=str(values["init_states"]),
        temperature=float(values["temperature"]),
        num_episodes=int(values["num_episodes"]),
        success_rate=rate,
        interval=(low, high),
        mujoco=mujoco if is_version(mujoco) and values["suite"] != ROBOTWIN.name else None,
    )
