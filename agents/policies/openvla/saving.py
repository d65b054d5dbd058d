"""Writes a checkpoint in the published layout, or only its adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from peft import LoraConfig
from torch import Tensor

from ttrl_env.agents.policies.model_card import write_model_card
from ttrl_env.agents.policies.openvla import lora
from ttrl_env.agents.policies.openvla.adapter_config import ADAPTER_CONFIG
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.projector_files import write_projector
from ttrl_env.agents.policies.openvla.records import ActionSpace, Source
from ttrl_env.agents.policies.openvla.weights import write_weights
from ttrl_env.agents.policies.origin import ACTION_SPACE_FILE
from ttrl_env.agents.policies.stored_weights import INDEX, SINGLE_FILE
from ttrl_env.errors import CheckpointError


def save_model(
    model: OpenVLAModel,
    source: Source,
    action_space: ActionSpace,
    folder: Path,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write all weights, with adapters merged, all small files of the source, and a model card.

    ``weights``, with the keys of the model's ``state_dict``, replace the model's own.
    """
    _refuse(folder, ADAPTER_CONFIG)
    _write_side_files(source, action_space, folder)
    write_weights(folder, lora.merged_state(model) if weights is None else weights)
    write_model_card(folder, base=source.name)


def save_adapter(
    model: OpenVLAModel, adapters: LoraConfig, source: Source, action_space: ActionSpace, folder: Path
) -> None:
    """Write the adapter, the name of its base, all small files of the source, and a model card.

    The projector of the robot's state is written too: the base may have another or none."""
    _refuse(folder, INDEX, SINGLE_FILE)
    _write_side_files(source, action_space, folder)
    lora.write_lora(model, adapters, folder, source.name)
    if model.proprio_projector is not None:
        write_projector(folder, model.proprio_projector)
    write_model_card(folder, base=source.name)


def model_weights(policy_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a policy's ``state_dict`` under its model's keys."""
    return {key.removeprefix("model."): tensor for key, tensor in policy_weights.items()}


def _refuse(folder: Path, *names: str) -> None:
    """Raise if ``folder`` has one of these files: adapter and model in one folder would be ambiguous."""
    present = [name for name in names if (folder / name).exists()]
    if present:
        raise CheckpointError(f"save_directory: {folder} has {present[0]} already; save to another folder")


def _write_side_files(source: Source, action_space: ActionSpace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in source.files.items():
        (folder / name).write_bytes(content)
    (folder / ACTION_SPACE_FILE).write_text(json.dumps(asdict(action_space), indent=1) + "\n")
