"""The configuration of ``ttrl pretrain``, and its composition from ``key=value`` arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from ttrl_env.agents.config.bounds import (
    Between,
    DeviceName,
    Seed,
    Text,
    Weight,
    above,
    as_config_error,
    at_least,
    check_fields,
)
from ttrl_env.agents.config.choices import CHUNK_STEPS
from ttrl_env.agents.config.estimates import (
    PAIRS_PER_SECOND,
    pair_bytes,
    require_time,
    training_bytes,
)
from ttrl_env.agents.config.output_folders import Folder, FolderSettings
from ttrl_env.agents.config.schema import ChunkSteps, InputSize, Width
from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.errors import ConfigError
from ttrl_env.machine.memory import require_memory


@dataclass(frozen=True, kw_only=True)
class NewPolicyConfig:
    """The TinyVLA that is trained."""

    image_size: InputSize = 64
    """Height and width of its input, pixels; the demonstrations' image size must be a multiple of it."""
    chunk_steps: ChunkSteps = CHUNK_STEPS
    """Actions decoded from one observation."""
    hidden_size: Width = 128
    """Width of the decoder's hidden states."""
    num_layers: Annotated[int, at_least(1, 256)] = 2
    """Number of decoder layers."""
    wrist_camera: bool = False
    """Whether the wrist camera's image is an input too."""
    proprioception: bool = False
    """Whether the end effector's pose and the fingers' positions are inputs too."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(FolderSettings):
    """Behaviour cloning from demonstrations (`ttrl pretrain`)."""

    data: tuple[Annotated[str, Text()], ...] = ()
    """HDF5 files in LIBERO's layout, LeRobotDatasets (v3) of LIBERO, or folders that hold either."""
    pairing: Pairing = "auto"
    """Observation i comes "before" action i (ours) or "after" it (published files); "auto": from the file."""
    max_episodes: Annotated[int | None, at_least(1)] = None
    """Episodes used of each file, or of each task of a LeRobotDataset; null: all."""
    output_dir: Annotated[str, Folder()] = "runs/pretrain"
    """Folder of the policy, the state to resume from, metrics and the report."""
    resume: bool = True
    """Continue from the state in output_dir, if there is one with the same configuration."""
    steps: Annotated[int, at_least(1, 100_000_000)] = 4000
    """Largest number of optimiser steps; the learning-rate schedule ends at this step."""
    batch_size: Annotated[int, at_least(1)] = 64
    """Action chunks in a batch."""
    learning_rate: Annotated[float, above(0, 1)] = 1e-3
    """AdamW's peak learning rate; it rises over the first tenth of the steps, then falls to 0 as a cosine."""
    weight_decay: Weight = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, above(0)] = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    validation_fraction: Annotated[float, Between(0.0, 0.99)] = 0.1
    """Fraction of each task's episodes that is used for validation instead of training."""
    validate_every: Annotated[int, at_least(1)] = 200
    """Steps between validations; each also saves the state to resume from."""
    patience: Annotated[int, at_least(0)] = 0
    """Stop after this many validations without improvement; 0: never."""
    keep: Literal["best", "last"] = "best"
    """The policy that is kept: of the "best" validation or of the "last" step."""
    seed: Seed = 0
    """Seed of the weights, of the batches and of the validation split."""
    device: Annotated[str, DeviceName()] = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    policy: NewPolicyConfig = field(default_factory=NewPolicyConfig)


def load_pretrain_config(overrides: Sequence[str] = ()) -> PretrainConfig:
    """Compose and check the configuration from ``key=value`` overrides.

    Raises:
        UnknownNameError: a key does not exist; the message names the nearest one.
        ConfigError: a value has the wrong type or is out of range.
    """
    from ttrl_env.agents.config.composing import compose_config  # imports Hydra, which the help does not need
    from ttrl_env.agents.config.loading import read_settings

    config = compose_config(PretrainConfig, read_settings(PretrainConfig, overrides))
    with as_config_error():
        check_pretrain_config(config)
    return config


def check_pretrain_config(config: PretrainConfig) -> None:
    """Raise if a value is invalid or would take too much memory or time."""
    if not config.data:
        raise ConfigError(
            "data: name HDF5 files or folders, e.g. `ttrl pretrain 'data=[demos/libero_object]'`"
        )
    check_fields(config)
    missing = [path for path in config.data if not os.path.exists(os.path.expanduser(path))]
    if missing:
        raise ConfigError(f"data: no such file or folder: {', '.join(missing)}")
    policy = config.policy
    require_memory(
        training_bytes(policy.hidden_size, policy.num_layers),
        "policy.hidden_size, policy.num_layers: a policy of this size",
        "lower them",
    )
    require_memory(
        config.batch_size * pair_bytes(policy.image_size, policy.hidden_size, policy.chunk_steps),
        f"batch_size: a step of {config.batch_size:,} chunks",
        "lower it",
    )
    require_time(
        config.steps * config.batch_size / PAIRS_PER_SECOND,
        f"steps, batch_size: {config.steps:,} steps of {config.batch_size:,} chunks",
        "lower them",
    )
