"""``ttrl train``: compose the configuration and train."""

from __future__ import annotations

from collections.abc import Sequence

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.config.schema import TrainConfig


def run(arguments: Sequence[str]) -> int:
    """Train as configured by ``key=value`` arguments."""
    config = read_arguments(arguments, TrainConfig, _load, usage="ttrl train [--cfg] [key=value ...]")
    if config is None:
        return 0
    from ttrl_env.agents.commands.terminal import make_display
    from ttrl_env.agents.training.train import train

    display = make_display()
    checkpoint = train(config, display)
    display.say(f"Checkpoint: {checkpoint}")
    display.say(f"Metrics:    {config.output_dir} (metrics.jsonl; tensorboard --logdir {config.output_dir})")
    return 0


def _load(overrides: Sequence[str]) -> TrainConfig:
    from ttrl_env.agents.config.loading import load_config

    return load_config(TrainConfig, overrides)
