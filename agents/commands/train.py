"""``ttrl train``: compose the configuration and train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.interrupts import INTERRUPTED, ending_at_once
from ttrl_env.agents.config.schema import TrainConfig

SCHEMA = TrainConfig

Run = TypeVar("Run", bound=TrainConfig)


def run(arguments: Sequence[str]) -> int:
    """Train as configured by ``key=value`` arguments; a run that was stopped early is no success."""
    config = read_arguments("train", arguments, SCHEMA, _load)
    if config is None:
        return 0
    with ending_at_once():
        from ttrl_env.agents.commands.terminal import make_display
        from ttrl_env.agents.common.run_folder import iteration_of
        from ttrl_env.agents.training.train import train

        if config.launcher != "ray":
            import ttrl_env.agents.training.loop  # noqa: F401 - takes seconds, here without a traceback

    display = make_display()
    checkpoint = train(config, display)
    display.say(f"Checkpoint: {checkpoint}")
    display.say(f"Metrics:    {config.output_dir} (metrics.jsonl; tensorboard --logdir {config.output_dir})")
    return 0 if iteration_of(checkpoint) >= config.iterations else INTERRUPTED


def _load(overrides: Sequence[str]) -> TrainConfig:
    return load_run(TrainConfig, overrides)


def load_run(schema: type[Run], overrides: Sequence[str]) -> Run:
    """With the suite and tasks of the policy it starts from, unless they are given or a run goes on."""
    from ttrl_env.agents.commands.policy_tasks import own_tasks
    from ttrl_env.agents.config.composing import compose_config
    from ttrl_env.agents.config.loading import load_config, read_settings, values_of_run

    settings = read_settings(schema, overrides)
    config = compose_config(schema, settings)
    path = config.policy.path
    if path is None or values_of_run(config):
        return load_config(schema, overrides)
    given = {key for key, _ in settings}
    return load_config(schema, overrides, own_tasks(path, "policy.path", config.env, config.policy, given))
