"""Reads the configuration saved in a training checkpoint, which is treated as untrusted data."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.agents.common.training_state import STATE_FILE, read_state
from ttrl_env.agents.config.aliases import in_todays_groups
from ttrl_env.agents.config.composing import to_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.errors import CheckpointError, ConfigError


def saved_config(checkpoint: Path) -> TrainConfig:
    """The configuration in a checkpoint's ``state.json``; missing keys have their defaults.

    Raises:
        CheckpointError: the file cannot be read, or its configuration is not that of a training run.
    """
    try:
        return to_config(TrainConfig, in_todays_groups(read_state(checkpoint).config))
    except ConfigError as error:
        raise CheckpointError(
            f"{checkpoint / STATE_FILE}: its configuration cannot be used: {error}"
        ) from error
