"""Making the policy that a configuration describes, and its reference."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ttrl_env.agents.common.checkpoint_files import own_folder
from ttrl_env.agents.config.choices import CHUNK_STEPS, ROBOTWIN_CHUNK_STEPS
from ttrl_env.agents.config.schema import EnvConfig, LoadConfig, PolicyConfig, TrainConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.distributed.devices import choose_device
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies import PolicyOptions, TinyVLA, TinyVLAConfig, TokenPolicy, load_policy
from ttrl_env.agents.policies.cameras import robotwin_cameras
from ttrl_env.agents.policies.loading import check_kind
from ttrl_env.agents.policies.reference import FrozenReference, frozen_reference, uses_adapters
from ttrl_env.agents.policies.sharding import share_policy
from ttrl_env.errors import ConfigError
from ttrl_env.robotwin.assets import find_assets
from ttrl_env.robotwin.joint_limits import joint_limits
from ttrl_env.robotwin.worker.layout import ACTION_DIM, JOINT_STATE


def make_policies(
    config: TrainConfig, checkpoint: Path | None, world: World = ALONE
) -> tuple[TokenPolicy, FrozenReference | None]:
    """The policy to train, as of ``checkpoint`` if there is one, and its reference if it has one.

    Of several processes each loads both into main memory and keeps its slices on its device.

    Raises:
        ConfigError: as :func:`make_policy` does.
    """
    device = choose_device(config.policy.device) if world.alone else torch.device("cpu")
    policy = make_policy(config, checkpoint, device)
    reference = _make_reference(config, policy, device, started=checkpoint is not None)
    models = [policy] if reference is None or reference.policy is policy else [policy, reference.policy]
    for model in models:
        share_policy(model, world, bfloat16=config.policy.openvla.autocast)
    return policy, reference


def make_policy(
    config: TrainConfig, checkpoint: Path | None = None, device: torch.device | None = None
) -> TokenPolicy:
    """The policy of a checkpoint, the one in ``policy.path``, or a TinyVLA initialised from the run's seed.

    It is moved to ``device``, by default the configured one, last, so that one which cannot be trained as
    configured takes no memory there.

    Raises:
        ConfigError: the device cannot be used, images have another size than the policy needs, or the
            weights to be trained are not float32.
    """
    settings, seed = config.policy, config.seed
    device = choose_device(settings.device) if device is None else device
    if checkpoint is not None:
        policy = load_policy(own_folder(checkpoint, "policy", "checkpoint"), policy_options(settings, seed))
    elif settings.path is not None:
        policy = load_policy(settings.path, policy_options(settings, seed))
    else:
        policy = _new_policy(settings, config.env, seed)
    _check_shape(policy, settings)
    check_image_size(policy, config.env)
    _check_precision(policy)
    assert isinstance(policy, nn.Module)
    nn.Module.to(policy, device)
    return policy


def policy_options(config: PolicyConfig, seed: int) -> PolicyOptions:
    """How a checkpoint is loaded for training, as configured."""
    return replace(load_options(config), seed=seed)


def load_options(config: LoadConfig) -> PolicyOptions:
    """How a checkpoint is loaded, as configured."""
    check_kind(config.kind)
    return PolicyOptions(kind=config.kind, chunk_steps=config.chunk_steps, **asdict(config.openvla))


def _make_reference(
    config: TrainConfig, policy: TokenPolicy, device: torch.device, *, started: bool
) -> FrozenReference | None:
    """The policy the run started from, where ``ppo.kl_coef`` asks for one.

    With LoRA it is ``policy`` with the adapters off. Otherwise it is a copy of ``policy``, or, where
    the run has ``started`` before and ``policy`` has changed since, the first policy made anew.
    """
    if config.ppo.kl_coef == 0:
        return None
    if started and not uses_adapters(policy):
        return FrozenReference(make_policy(config, device=device))
    return frozen_reference(policy)


def _check_shape(policy: TokenPolicy, settings: PolicyConfig) -> None:
    """Keys that shape a new TinyVLA are at their defaults, or say what a loaded policy is."""
    for name in ("image_size", "hidden_size"):
        asked = getattr(settings, name)
        found = getattr(policy.config, name) if isinstance(policy, TinyVLA) else None
        if asked not in (found, getattr(PolicyConfig(), name)):
            has = "has no such option" if found is None else f"has {found}"
            raise ConfigError(
                f"policy.{name}: shapes a new TinyVLA; the policy that is loaded {has}, got {asked}; leave "
                f"it out"
            )


def check_image_size(policy: TokenPolicy, env: EnvConfig) -> None:
    """Raise :class:`ConfigError` unless ``policy`` can see the images that ``env`` renders."""
    if plays_robotwin(env):
        _check_wide_images(policy, env.robotwin.image_height, env.robotwin.image_width)
        return
    try:
        policy.check_image_size(env.image_size)
    except ValueError as error:
        raise ConfigError(f"env.image_size: {error}") from error


def _check_wide_images(policy: TokenPolicy, height: int, width: int) -> None:
    """Show the policy images of this size."""
    images = np.zeros((1, height, width, 3), dtype=np.uint8)
    seen = {f"{camera}_image": images for camera in robotwin_cameras(policy.cameras)}
    try:
        policy.prepare({**seen, JOINT_STATE: np.zeros((1, ACTION_DIM), dtype=np.float32)}, ["look"])
    except ValueError as error:
        raise ConfigError(
            f"env.robotwin.image_height, env.robotwin.image_width: the policy cannot see images of {height} "
            f"x {width}: {error}"
        ) from error


def _check_precision(policy: TokenPolicy) -> None:
    """bfloat16 has three decimal digits: a step of 1e-5 on a weight of 0.02 rounds to nothing."""
    types = {parameter.dtype for parameter in policy.parameters() if parameter.requires_grad}
    if types - {torch.float32}:
        raise ConfigError(
            f"policy.openvla.dtype: weights to be trained must be float32, small steps are lost in "
            f"{', '.join(sorted(str(each) for each in types))}. Set policy.openvla.dtype=float32 "
            f"policy.openvla.autocast=true, or train adapters alone (policy.openvla.lora_rank=32), which are "
            f"float32 on weights of any type"
        )


def _new_policy(config: PolicyConfig, env: EnvConfig, seed: int) -> TinyVLA:
    world, chunk_steps = {}, CHUNK_STEPS
    if plays_robotwin(env):
        world, chunk_steps = _for_robotwin(env), ROBOTWIN_CHUNK_STEPS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyVLA(
            TinyVLAConfig(
                image_size=config.image_size,
                chunk_steps=config.chunk_steps or chunk_steps,
                hidden_size=config.hidden_size,
                **world,
            )
        )


def _for_robotwin(env: EnvConfig) -> dict[str, Any]:
    """What a TinyVLA for RoboTwin sees, as the published policies do, and the joint targets it can choose."""
    low, high = joint_limits(find_assets(env.robotwin.assets, env.robotwin.python))
    return {
        "camera": "head_camera",
        "proprioception": True,
        "action_dim": len(low),
        "action_low": low.tolist(),
        "action_high": high.tolist(),
    }
