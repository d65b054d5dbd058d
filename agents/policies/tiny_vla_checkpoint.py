"""Reads a TinyVLA's folder: its configuration as data, and its weights after their shapes are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from ttrl_env.agents.common.checkpoint_files import read_own_json, unexpected_value
from ttrl_env.agents.policies.sizes import LARGEST_DEPTH, LARGEST_WIDTH, is_size
from ttrl_env.agents.policies.stored_weights import fill_module, weight_files
from ttrl_env.agents.policies.tiny_vla import TinyVLA, TinyVLAConfig
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import CheckpointError

_LARGEST_IMAGE = 4096

_MOST_WORDS = _LONGEST_CHUNK = 1024

_MOST_BUCKETS = 2**31


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
    for key, (expected, fits) in _KEYS.items():
        if key in content and not fits(content[key]):
            raise unexpected_value(file, key, expected, content[key])
    config = TinyVLAConfig(**{key: content[key] for key in _KEYS if key in content})
    if config.hidden_size % config.num_heads:
        raise unexpected_value(
            file, "num_heads", f"a divisor of hidden_size={config.hidden_size}", config.num_heads
        )
    return config


def _likely_causes(missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]) -> list[str]:
    if mismatched and not (missing or unexpected):
        return ["a config.json that was changed, or that is another checkpoint's"]
    return ["a config.json or weights of another checkpoint"]


def _are_demonstrations(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(entry, dict) for entry in value))


def _up_to(largest: int, *, step: int = 1) -> tuple[str, Callable[[Any], bool]]:
    multiple = f", a multiple of {step}" if step > 1 else ""
    return (
        f"an integer from {step} to {largest}{multiple}",
        lambda value: is_size(value, largest) and value % step == 0,
    )


_SWITCH: tuple[str, Callable[[Any], bool]] = ("true or false", lambda value: isinstance(value, bool))

_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "camera": (f"one of {', '.join(get_args(CameraName))}", lambda value: value in get_args(CameraName)),
    "image_size": _up_to(_LARGEST_IMAGE, step=16),
    "chunk_steps": _up_to(_LONGEST_CHUNK),
    "hidden_size": _up_to(LARGEST_WIDTH, step=16),
    "num_layers": _up_to(LARGEST_DEPTH),
    "num_heads": _up_to(LARGEST_WIDTH),
    "word_buckets": _up_to(_MOST_BUCKETS),
    "max_words": _up_to(_MOST_WORDS),
    "wrist_camera": _SWITCH,
    "proprioception": _SWITCH,
    "demonstrations": ("null or a list of objects", _are_demonstrations),
}
"""The keys that are read; each with its valid values and a test."""
