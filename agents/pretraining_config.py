"""The configuration of ``ttrl pretrain``, and composing it from ``key=value`` arguments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttrl_env.agents.config_loading import unknown_key, walk_fields, writable
from ttrl_env.agents.demonstrations.self_description import Pairing
from ttrl_env.checks import check_choice, check_positive_int
from ttrl_env.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NewPolicyConfig:
    """The TinyVLA that is trained."""

    image_size: int = 64
    """Height and width of its input, pixels; the demonstrations' images are a multiple of it."""
    chunk_steps: int = 8
    """Actions decoded from one observation."""
    hidden_size: int = 128
    """Width."""
    num_layers: int = 2
    """Decoder layers."""
    wrist_camera: bool = False
    """Whether it also sees the wrist camera's image."""
    proprioception: bool = False
    """Whether it also knows the end effector's pose and the fingers' positions."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Behaviour cloning of demonstrations (`ttrl pretrain`)."""

    data: tuple[str, ...] = ()
    """HDF5 files in LIBERO's layout, or folders that are searched for them."""
    pairing: str = "auto"
    """Observation i comes "before" action i (ours) or "after" it (published files); "auto": ask the file."""
    max_episodes: int | None = None
    """Episodes used of each file; null: all."""
    output_dir: str = "runs/pretrain"
    """Folder of the policy, the state to resume from, metrics and the report."""
    resume: bool = True
    """Go on from output_dir's state, if it has one of the same configuration."""
    steps: int = 4000
    """Optimiser steps at most; the step size is planned for this many."""
    batch_size: int = 64
    """Chunks of actions a step."""
    learning_rate: float = 1e-3
    """AdamW's highest step size: it rises over the first tenth and falls to zero along a cosine."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    validation_fraction: float = 0.1
    """Share of each task's episodes that is kept out of training."""
    validate_every: int = 200
    """Steps between validations, each of which also saves what is needed to resume."""
    patience: int = 0
    """Stop after this many validations without a better one; 0: never."""
    keep: str = "best"
    """The policy that is left: of the "best" validation or of the "last" step."""
    seed: int = 0
    """Seed of weights, batches and the split."""
    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    policy: NewPolicyConfig = field(default_factory=NewPolicyConfig)


def load_pretrain_config(overrides: Sequence[str] = ()) -> PretrainConfig:
    """The checked configuration of ``key=value`` overrides.

    Raises:
        UnknownNameError: a key that does not exist, with the nearest one.
        ConfigError: a value of the wrong type or out of range.
    """
    known = dict(walk_fields(PretrainConfig))
    for override in overrides:
        _check_key(override, known)
    schema = writable(OmegaConf.structured(PretrainConfig))
    try:
        config = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.from_dotlist(list(overrides))))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'arguments'}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, PretrainConfig)
    try:
        _check(config)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error
    return config


def _check_key(override: str, known: Collection[str]) -> None:
    key, equals, _ = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r}: expected key=value, e.g. data=[demos]")
    if key not in known:
        raise unknown_key(override, key, list(known))


def _check(config: PretrainConfig) -> None:
    if not config.data:
        raise ConfigError("data: name HDF5 files or folders, e.g. `ttrl pretrain data=[demos/libero_object]`")
    missing = [path for path in config.data if not Path(path).expanduser().exists()]
    if missing:
        raise ConfigError(f"data: no such file or folder: {', '.join(missing)}")
    check_choice("pairing", config.pairing, get_args(Pairing))
    check_choice("keep", config.keep, ("best", "last"))
    for name in ("steps", "batch_size", "validate_every"):
        check_positive_int(name, getattr(config, name))
    check_positive_int("patience", config.patience, minimum=0)
    if config.max_episodes is not None:
        check_positive_int("max_episodes", config.max_episodes)
    for name in ("learning_rate", "max_grad_norm"):
        if not getattr(config, name) > 0.0:
            raise ConfigError(f"{name}: expected a number above 0, got {getattr(config, name)}")
    if not 0.0 <= config.validation_fraction < 1.0:
        raise ConfigError(
            f"validation_fraction: expected at least 0 and less than 1, got {config.validation_fraction}"
        )
    for name in ("chunk_steps", "hidden_size", "num_layers"):
        check_positive_int(f"policy.{name}", getattr(config.policy, name))
    if config.policy.image_size % 16:
        raise ConfigError(f"policy.image_size: expected a multiple of 16, got {config.policy.image_size}")
