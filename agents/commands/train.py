"""``ttrl train``: compose the configuration and train."""

from __future__ import annotations

from collections.abc import Sequence

from ttrl_env.agents.commands.keys import print_config, print_keys
from ttrl_env.agents.config.schema import TrainConfig


def run(arguments: Sequence[str]) -> int:
    """Train as configured by ``key=value`` arguments."""
    if {"-h", "--help"} & set(arguments):
        print_keys("ttrl train [--cfg] [key=value ...]", TrainConfig)
        return 0
    from ttrl_env.agents.config.loading import load_config  # Hydra, which help does without

    overrides = [argument for argument in arguments if argument != "--cfg"]
    config = load_config(TrainConfig, overrides)
    if len(overrides) < len(arguments):
        print_config(config)
        return 0
    import transformers

    from ttrl_env.agents.common.progress import Display
    from ttrl_env.agents.training.train import train

    transformers.logging.disable_progress_bar()  # the terminal shows the run's own
    display = Display()
    checkpoint = train(config, display)
    display.say(f"Checkpoint: {checkpoint}")
    display.say(f"Metrics:    {config.output_dir} (metrics.jsonl; tensorboard --logdir {config.output_dir})")
    return 0
