"""What a checkpoint decodes and sees: from the options, else as it was recorded, else the only choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.config.choices import CHUNK_STEPS, Decoding
from ttrl_env.agents.policies.cameras import WORLDS, PolicyCamera, World
from ttrl_env.agents.policies.finding import HUB, find_policy, is_repo_id
from ttrl_env.agents.policies.openvla.actions import choose_statistics
from ttrl_env.agents.policies.openvla.adapter_config import base_of
from ttrl_env.agents.policies.openvla.records import ActionSpace
from ttrl_env.agents.policies.openvla.senses import NUM_IMAGES, cameras_of
from ttrl_env.agents.policies.openvla.statistics import ActionStatistics, read_statistics
from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.origin import ACTION_SPACE_FILE
from ttrl_env.errors import CheckpointError

_TWO_ARM_CHUNK_STEPS = 25
"""Actions a chunk of OpenVLA-OFT's checkpoints for two arms."""


def read_action_space(
    folder: Path, statistics: Mapping[str, ActionStatistics], options: PolicyOptions, *, use_proprio: bool
) -> ActionSpace:
    """The action space of the checkpoint in ``folder``, whose datasets have ``statistics``.

    ``use_proprio``: whether it has a projector of the robot's state.

    Raises:
        CheckpointError: options differ from what was recorded, or nothing says what cannot be guessed.
    """
    recorded = recorded_space(folder)
    decoding = options.decoding or recorded.get("decoding")
    if decoding is None:
        raise CheckpointError(
            f"policy.openvla.decoding: {folder} does not say how it decodes actions. Set "
            f"policy.openvla.decoding=parallel for OpenVLA-OFT with discrete tokens, "
            f"policy.openvla.decoding=autoregressive for the original OpenVLA"
        )
    for key in ("policy.openvla.decoding", "policy.openvla.num_images", "policy.chunk_steps"):
        name = key.rpartition(".")[2]
        asked = getattr(options, name)
        if asked is not None and recorded.get(name, asked) != asked:
            raise CheckpointError(f"{key}: {folder} was trained with {recorded[name]!r}, got {asked!r}")
    unnorm_key = choose_statistics(statistics, options.unnorm_key or recorded.get("unnorm_key"))
    world = statistics[unnorm_key].world
    num_images = options.num_images or recorded.get("num_images")
    if num_images is None and use_proprio:
        raise CheckpointError(
            f"policy.openvla.num_images: {folder} sees the robot's state, and nothing says how many images "
            f"it was trained on beside it. Set it to {' or '.join(map(str, NUM_IMAGES[world]))}: the first "
            f"of {', '.join(WORLDS[world])}"
        )
    if decoding == "autoregressive" and (use_proprio or num_images not in (None, 1)):
        raise CheckpointError(
            "policy.openvla.decoding: expected parallel for a checkpoint that sees several images or the "
            "robot's state, as OpenVLA-OFT does, got autoregressive"
        )
    cameras_of(world, num_images or 1)
    return ActionSpace(
        decoding=decoding,
        chunk_steps=options.chunk_steps or recorded.get("chunk_steps") or _default_chunk(decoding, world),
        unnorm_key=unnorm_key,
        num_images=num_images or 1,
        use_proprio=use_proprio,
    )


def _default_chunk(decoding: Decoding, world: World) -> int:
    """Actions a chunk of published checkpoints."""
    if decoding == "autoregressive":
        return 1
    return CHUNK_STEPS if world == "LIBERO" else _TWO_ARM_CHUNK_STEPS


def recorded_space(folder: Path) -> dict[str, Any]:
    """The action space that ``save_pretrained`` stored; empty for a published checkpoint."""
    file = folder / ACTION_SPACE_FILE
    if not file.exists():
        return {}
    content = read_own_json(folder, file.name)
    try:
        recorded = asdict(ActionSpace(**content))
        PolicyOptions(**recorded)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"policy.path: {file} cannot be read: {error}") from error
    return recorded


def read_openvla_cameras(folder: Path, options: PolicyOptions) -> tuple[PolicyCamera, ...]:
    """The cameras that a checkpoint in ``folder`` sees, without reading its weights.

    Raises:
        CheckpointError: a file does not fit, or nothing says which of several worlds it is for.
    """
    recorded = recorded_space(folder)
    described = folder
    if not (folder / "config.json").is_file():
        base = base_of(folder)
        described = find_policy(f"{HUB}{base}" if is_repo_id(base) else base, described=True)
    statistics = read_statistics(described)
    worlds = {each.world for each in statistics.values()}
    if len(worlds) > 1:
        worlds = {
            statistics[choose_statistics(statistics, options.unnorm_key or recorded.get("unnorm_key"))].world
        }
    return cameras_of(worlds.pop(), options.num_images or recorded.get("num_images") or 1)
