"""Computes each iteration's metrics and writes them as JSON lines and to TensorBoard and W&B."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
from torch.utils.tensorboard import SummaryWriter

from ttrl_env.agents.common import json_lines
from ttrl_env.agents.rollout.group_selection import GroupSelection
from ttrl_env.agents.rollout.types import Rollout
from ttrl_env.agents.training.wandb_run import WandbRun
from ttrl_env.agents.update.report import UpdateReport
from ttrl_env.errors import CheckpointError
from ttrl_env.machine.whole_files import naming, write_whole

METRICS_FILE = "metrics.jsonl"
"""File with one record for each iteration."""

EVALUATIONS_FILE = "evaluations.jsonl"
"""File with one record for each evaluation, with the number of iterations before it."""

TENSORBOARD_FOLDER = "tensorboard"
"""Folder of TensorBoard's event files."""

_KEYS = ("iteration",)


def rollout_metrics(rollout: Rollout) -> dict[str, Any]:
    """Metrics of a rollout: success, rewards and their spread in each group, temperatures and times.

    ``groups_mixed`` counts the groups in which some rows succeeded and some failed.
    """
    groups = np.unique(rollout.groups)
    spread = [float(rollout.rewards[rollout.groups == group].std()) for group in groups]
    rates = np.array([rollout.success[rollout.groups == group].mean() for group in groups])
    solved = rollout.finish_steps[rollout.success]
    entropy = rollout.entropies[rollout.mask]
    return {
        "rollout/success_rate": float(rollout.success.mean()),
        "rollout/reward_mean": float(rollout.rewards.mean()),
        "rollout/reward_spread": float(np.mean(spread)),
        "rollout/groups_mixed": int(((rates > 0) & (rates < 1)).sum()),
        "rollout/steps_to_success": float(solved.mean()) if solved.size else None,
        "rollout/entropy": float(entropy.mean()),
        "rollout/temperature_min": float(rollout.temperatures.min()),
        "rollout/temperature_max": float(rollout.temperatures.max()),
        "rollout/reward_spread_of_group": spread,
        "rollout/temperatures": rollout.temperatures.tolist(),
        "rollout/rewards": rollout.rewards.tolist(),
        "rollout/success": rollout.success.tolist(),
        "rollout/finish_steps": rollout.finish_steps.tolist(),
        "rollout/task_ids": rollout.task_ids.tolist(),
        "rollout/init_state_ids": rollout.init_state_ids.tolist(),
        "seconds/simulation": rollout.simulation_seconds,
        "seconds/policy": rollout.policy_seconds,
    }


def selection_metrics(groups: GroupSelection) -> dict[str, Any]:
    """The number of groups played, and of those from which the update learns."""
    return {
        "rollout/draws": groups.draws,
        "rollout/groups_played": groups.num_played,
        "rollout/groups_kept": groups.num_kept,
        "rollout/groups_filtered": groups.filtered,
        "rollout/groups_without_spread": groups.without_spread,
    }


def update_metrics(report: UpdateReport) -> dict[str, Any]:
    """The update's diagnostics, before its first step and at its last."""
    named = {"first": report.first, "last": report.last}
    diagnostics = {
        f"update/{name}_{when}": value
        for when, values in named.items()
        if values is not None
        for name, value in asdict(values).items()
        if not name.endswith("weight")
    }
    advantages = {} if report.advantages is None else asdict(report.advantages)
    critic = {} if report.critic is None else asdict(report.critic)
    return {
        **diagnostics,
        **{f"update/advantage_{name}": value for name, value in advantages.items()},
        **{f"critic/{name}": value for name, value in critic.items()},
        "update/explained_variance": report.explained_variance,
        "update/logprob_difference": report.logprob_difference,
        "update/logprob_difference_mean": report.logprob_difference_mean,
        "update/grad_norm": report.grad_norm,
        "update/steps": report.steps,
        "update/skipped_steps": report.skipped_steps,
        "update/stopped_early": int(report.stopped_early),
        "update/dropped_groups": report.dropped_groups,
        "update/chunks": report.chunks,
        "update/micro_batch_chunks": report.micro_batch_chunks,
        "seconds/update": report.seconds,
    }


def memory_gigabytes() -> float:
    """Proportional memory of this process and its workers (shared pages counted once), gigabytes."""
    process = psutil.Process()
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            info = each.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        total += getattr(info, "pss", info.rss)
    return total / 1e9


class MetricsWriter:
    """Writes one record for each iteration to ``metrics.jsonl``, TensorBoard and, if configured, W&B.

    Entering the context removes the records of iterations that a resumed run plays again.
    """

    def __init__(
        self, output_dir: str | Path, *, completed: int, wandb_project: str | None, config: Any
    ) -> None:
        """Read the files of a run that resumes after ``completed`` iterations.

        Raises:
            CheckpointError: a line of a file is not a valid record; nothing is changed.
            MissingDependencyError: there is a ``wandb_project``, and ``wandb`` is not installed.
        """
        self._folder = Path(output_dir)
        self._file = self._folder / METRICS_FILE
        self._evaluations = self._folder / EVALUATIONS_FILE
        self._completed = completed
        self._kept = {
            self._file: _records_until(self._file, completed),
            # a run without a completed iteration repeats its first evaluation
            self._evaluations: _records_until(self._evaluations, completed or -1),
        }
        self._wandb = (
            WandbRun(wandb_project, self._folder, config, resumed=completed > 0) if wandb_project else None
        )

    def __enter__(self) -> MetricsWriter:
        """Remove the records after ``completed`` iterations, and open TensorBoard's file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file, records in self._kept.items():
            if file.is_file():
                write_whole(file, "".join(json.dumps(record) + "\n" for record in records))
        events = self._folder / TENSORBOARD_FOLDER
        with naming(events):
            self._tensorboard = SummaryWriter(str(events), purge_step=self._completed + 1)
        return self

    def write(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Record the metrics of an iteration (counted from 1); lists go to the JSON lines only."""
        record = {"iteration": iteration, **_numbers(metrics)}
        json_lines.append_record(self._file, record, allow_nan=False)
        self._show(
            iteration, {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
        )

    @property
    def shows_videos(self) -> bool:
        """Whether :meth:`write_evaluation` has a use for a video."""
        return self._wandb is not None

    def write_evaluation(self, iteration: int, report: Mapping[str, Any], video: Path | None = None) -> None:
        """Record an evaluation in ``evaluations.jsonl``, and its success rate beside the metrics.

        W&B gets the tasks' rates and the video too.
        """
        json_lines.append_record(self._evaluations, {"iteration": iteration, **report})
        shown = {f"evaluation/{key}": report[key] for key in ("success_rate", "steps_to_success")}
        self._show(iteration, {key: value for key, value in shown.items() if value is not None})
        if self._wandb is not None:
            self._wandb.log_evaluation(iteration, report, video)

    def _show(self, iteration: int, scalars: Mapping[str, float]) -> None:
        """Add points to the curves of TensorBoard and W&B."""
        with naming(self._folder / TENSORBOARD_FOLDER):
            for key, value in scalars.items():
                self._tensorboard.add_scalar(key, value, iteration)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(iteration, scalars)

    def has_evaluation(self, iteration: int) -> bool:
        """Whether the evaluation after ``iteration`` iterations has been recorded."""
        if not self._evaluations.is_file():
            return False
        records = json_lines.read_records(self._evaluations, integers=_KEYS)
        return any(record["iteration"] == iteration for record in records)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        with naming(self._folder / TENSORBOARD_FOLDER):
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


class NoMetrics(MetricsWriter):
    """Writes nothing; for all processes of a run except the first."""

    def __init__(self) -> None:
        """Read no files."""

    def __enter__(self) -> NoMetrics:
        """Open no files."""
        return self

    def write(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Write nothing."""

    @property
    def shows_videos(self) -> bool:
        """False."""
        return False

    def write_evaluation(self, iteration: int, report: Mapping[str, Any], video: Path | None = None) -> None:
        """Write nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


def read_records(output_dir: str | Path, name: str) -> list[dict[str, Any]]:
    """The records of a run's :data:`METRICS_FILE` or :data:`EVALUATIONS_FILE`, in order."""
    return json_lines.read_records(Path(output_dir) / name)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with ``None`` for NaN and infinities, which JSON cannot represent."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }


def _records_until(file: Path, completed: int) -> list[dict[str, Any]]:
    """The records of iterations that a resumed run does not play again."""
    if file.exists() and not file.is_file():
        raise CheckpointError(f"{file}: expected a regular file, got a folder, pipe or device; move it away")
    records = json_lines.read_records(file, integers=_KEYS) if file.is_file() else []
    return [record for record in records if record["iteration"] <= completed]
