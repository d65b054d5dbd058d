"""Finds a run's checkpoints: folders such as ``checkpoints/iteration_000010`` in the run's folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ttrl_env.errors import CheckpointError

_NAME = re.compile(r"iteration_(\d{6,})")


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    folder = Path(output_dir) / "checkpoints"
    found = (path for path in folder.glob("iteration_*") if _NAME.fullmatch(path.name) and path.is_dir())
    return sorted(found, key=iteration_of)


def iteration_of(checkpoint: Path) -> int:
    """Number of completed iterations, from a checkpoint's name."""
    return int(checkpoint.name.removeprefix("iteration_"))


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a training checkpoint."""
    return (folder / "state.json").is_file()


def in_run(checkpoint: Path, output_dir: str | Path) -> bool:
    """Whether a checkpoint belongs to the run in ``output_dir``."""
    return checkpoint.resolve().parent == (Path(output_dir) / "checkpoints").resolve()


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint at ``path``: the folder itself, or the last checkpoint of the run in it."""
    path = Path(os.path.expanduser(path))
    if is_checkpoint(path):
        return path
    found = list_checkpoints(path)
    if not found:
        raise CheckpointError(
            f"{path}: expected a checkpoint (a folder with state.json) or a run's folder that has some"
        )
    return found[-1]
