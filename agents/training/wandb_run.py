"""The record of a training run in Weights & Biases: one for a run's folder, however often it is resumed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttrl_env.errors import CheckpointError, MissingDependencyError
from ttrl_env.machine.whole_files import read_object, write_whole

WANDB_FILE = "wandb_run.json"
"""File in a run's folder with the project and the id of its record."""

_ID = re.compile(r"[\w-]{1,128}", re.ASCII)


def require_wandb() -> None:
    """Raise unless Weights & Biases is installed; a folder of that name, as its runs leave, is not.

    Raises:
        MissingDependencyError: has the command that installs it.
    """
    found = importlib.util.find_spec("wandb")
    if found is None or found.origin is None:
        raise MissingDependencyError(
            "wandb_project: Weights & Biases is not installed. Install it with: pip install 'ttrl-env[wandb]'"
        )


class WandbRun:
    """A run in Weights & Biases, under the name of the run's folder."""

    def __init__(self, project: str, output_dir: Path, config: Mapping[str, Any], *, resumed: bool) -> None:
        """Begin the record, or go on with the folder's if the run itself is ``resumed``.

        Raises:
            MissingDependencyError: ``wandb`` is not installed.
            CheckpointError: the file with the record's id is damaged.
        """
        require_wandb()
        self._wandb = importlib.import_module("wandb")
        output_dir.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=project,
            name=output_dir.resolve().name,
            id=_run_id(output_dir / WANDB_FILE, project, resumed),
            resume="allow",
            dir=str(output_dir),
            config=dict(config),
            allow_val_change=True,  # a resumed run may have other settings
        )
        # W&B's own steps only grow, but a resumed run repeats iterations after its last checkpoint
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Add points to the curves."""
        self._run.log({**values, "iteration": iteration})

    def log_evaluation(self, iteration: int, report: Mapping[str, Any], video: Path | None) -> None:
        """Add the tasks of an evaluation as a table, and its video."""
        rows = [
            [int(task_id), task["num_episodes"], task["success_rate"], *task["success_rate_interval_95"]]
            for task_id, task in report["tasks"].items()
        ]
        columns = ["task", "episodes", "success rate", "95 % from", "95 % to"]
        media: dict[str, Any] = {"evaluation/tasks": self._wandb.Table(columns=columns, data=rows)}
        if video is not None:
            media["evaluation/video"] = self._wandb.Video(str(video), format="mp4")
        self.log(iteration, media)

    def finish(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()


def _run_id(file: Path, project: str, resumed: bool) -> str:
    """The id of the folder's record in a project; a new one, which is stored, if it has none."""
    if resumed and file.exists():
        stored = read_object(file, "remove it to begin a new record in W&B")
        if not (isinstance(stored.get("id"), str) and _ID.fullmatch(stored["id"])):
            raise CheckpointError(
                f"{file}: id: expected letters, digits, - and _, got {stored.get('id')!r:.80}"
            )
        if stored.get("project") == project:
            return str(stored["id"])
    new = secrets.token_hex(4)
    write_whole(file, json.dumps({"project": project, "id": new}) + "\n")
    return new
