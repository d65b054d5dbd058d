"""What has to hold before a run starts: found out in a second, before anything is loaded or built."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.agents.common.run_folder import in_run, list_checkpoints
from ttrl_env.agents.config.bounds import as_config_error
from ttrl_env.agents.config.checks import check_config
from ttrl_env.agents.config.resuming import checkpoint_to_resume
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.training.wandb_run import require_wandb
from ttrl_env.errors import CheckpointError


def check_run(config: TrainConfig) -> None:
    """Raise unless the values fit together, and what they need is installed.

    Raises:
        ConfigError: names the key.
        MissingDependencyError: ``config.wandb_project`` is set and ``wandb`` is not installed.
    """
    if config.wandb_project is not None:
        require_wandb()
    with as_config_error():
        check_config(config)


def checkpoint_to_go_on_from(config: TrainConfig) -> Path | None:
    """The checkpoint of ``config.resume``; ``None`` where the run begins.

    Raises:
        CheckpointError: there is none of that name, or ``config.output_dir`` holds another run.
    """
    checkpoint = None if config.resume is None else checkpoint_to_resume(config)
    existing = list_checkpoints(config.output_dir)
    elsewhere = checkpoint is None or not in_run(checkpoint, config.output_dir)
    if config.resume != "auto" and existing and elsewhere:
        other = "" if checkpoint is None else f", which {checkpoint} does not belong to"
        raise CheckpointError(
            f"output_dir: {config.output_dir} already holds a run (up to {existing[-1].name}){other}. "
            f"Continue it with resume=auto, or choose another output_dir"
        )
    return checkpoint
