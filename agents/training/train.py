"""Starting a run: here, or in the processes that Ray starts. The loop itself is in ``loop.py``.

The loop's imports take ten seconds. They wait until a configuration has been checked, and the process from
which Ray is started does without them.
"""

from __future__ import annotations

from pathlib import Path

from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.supervision import Supervisor
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.training.preconditions import check_run, checkpoint_to_go_on_from
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine

LOOP = "ttrl_env.agents.training.loop:train_here"
"""What every process of a run calls."""


def train(
    config: TrainConfig, display: Display | None = None, engine: OwnEngine | EngineChoice | None = None
) -> Path:
    """Train a policy as configured; returns the last checkpoint.

    Processes that ``torchrun`` has started, or that Ray starts for ``config.launcher="ray"``, train one
    policy together (docs/scaling.md).

    ``engine`` is the caller's own simulation engine, in place of the one that ``config.env`` names.

    The first Ctrl-C (or SIGTERM, SIGHUP) ends the run after the current iteration, with a checkpoint. If a
    simulation dies, a run of one process writes a checkpoint of the last completed iteration and raises the
    error again. With several processes the last checkpoint is the one written before.

    Raises:
        ConfigError: the configuration cannot work (checked before anything is built or loaded), or another
            process is writing to ``config.output_dir``.
        CheckpointError: a policy or checkpoint cannot be read, or a checkpoint cannot be written.
        MissingDependencyError: ``config.wandb_project`` is set and ``wandb`` is not installed, or Ray is
            needed and is not.
        EnvironmentDiedError: a simulation process died.
        TrainingDivergedError: the policy's outputs, loss or gradients are no longer numbers. Earlier
            checkpoints stay as they are, and the message names the last one.
        WorkersDiedError: processes that Ray started died more often than ``config.ray.max_failures``.
    """
    check_run(config)
    display = display or Display()
    if config.launcher == "ray":
        checkpoint_to_go_on_from(config)  # what the processes would find out, before they are started
        from ttrl_env.agents.on_ray.launch import train_on_ray  # only then

        return train_on_ray(LOOP, config, display, engine)
    from ttrl_env.agents.training.loop import train_here

    return train_here(config, display, engine, Supervisor())
