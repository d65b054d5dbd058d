"""Reads a TinyVLA's folder: its configuration as data, and its weights after their shapes are checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ttrl_env.agents.common.checkpoint_files import read_own_json, unexpected_value
from ttrl_env.agents.policies.stored_weights import fill_module, weight_files
from ttrl_env.agents.policies.tiny_vla import TinyVLA
from ttrl_env.agents.policies.tiny_vla_config import TinyVLAConfig, own_fields
from ttrl_env.errors import CheckpointError, ConfigError, UnknownNameError


def load_tiny_vla(folder: Path) -> TinyVLA:
    """Load the policy in a folder.

    Raises:
        CheckpointError: a file is missing or damaged, a value of the configuration is invalid, or tensors do
            not fit the configuration. The last is raised before memory is allocated for them.
    """
    config = read_tiny_vla_config(folder)
    with torch.device("meta"):
        policy = TinyVLA(config)
    fill_module(policy, weight_files(folder), _likely_causes)
    return policy.float().eval()  # of any saved dtype: it is trained, also on CPUs


def read_tiny_vla_config(folder: Path) -> TinyVLAConfig:
    """Read the configuration in a folder; only TinyVLA's own keys of ``config.json`` are used."""
    content = read_own_json(folder, "config.json")
    file = folder / "config.json"
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"policy.path: {folder} has adapter_config.json: TinyVLA has no adapters. Remove it, or name "
            f"the intended folder"
        )
    if content.get("quantization_config"):
        raise unexpected_value(file, "quantization_config", "none", content["quantization_config"])
    try:
        return TinyVLAConfig(**{key: content[key] for key in own_fields() if key in content})
    except (ConfigError, UnknownNameError) as error:
        raise CheckpointError(f"policy.path: {file}: {error}") from error


def _likely_causes(missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]) -> list[str]:
    if mismatched and not (missing or unexpected):
        return ["a config.json that was changed, or that is another checkpoint's"]
    return ["a config.json or weights of another checkpoint"]
