"""LoRA adapters (Hu et al. 2021), by ``peft``: on every linear layer that matters, but the head."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.errors import CheckpointError

ADAPTER = "default"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
"""What peft's own models put before every key of an adapter file."""


def add_lora(model: OpenVLAModel, rank: int, alpha: float, seed: int) -> LoraConfig:
    """Freeze ``model`` and put new adapters on it, which change nothing yet (their B is zero)."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules=_target_modules(model),
        init_lora_weights="gaussian",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _inject(model, config)
    return config


def read_lora(model: OpenVLAModel, folder: Path) -> LoraConfig:
    """Freeze ``model`` and put the adapter saved in ``folder`` on it, strictly."""
    try:
        config = LoraConfig.from_pretrained(str(folder))
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"policy.path: {folder} has no readable LoRA adapter: {error}") from error
    if config.lora_dropout:
        config.lora_dropout = 0.0  # the same inputs must give the same distribution in rollout and update
    _inject(model, config)
    if isinstance(model.language_model.lm_head, LoraLayer) or config.modules_to_save:
        raise CheckpointError(
            f"policy.path: the adapter in {folder} changes the head or replaces modules; merge it into its "
            f"base with peft and load the result"
        )
    others = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and not isinstance(module, LoraLinear)
    ]
    if others:
        raise CheckpointError(
            f"policy.path: the adapter in {folder} changes {', '.join(others)}; expected linear layers only"
        )
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in tensors.items()}
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    _check_adapter(folder, expected, state)
    set_peft_model_state_dict(model, state)
    return config


def write_lora(model: OpenVLAModel, config: LoraConfig, folder: Path, base: str) -> None:
    """Write the adapter as peft does, with the checkpoint it belongs to."""
    config.base_model_name_or_path = base
    config.save_pretrained(str(folder))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {_PREFIX + key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict under its published names, adapters (if any) added to the weights they belong to."""
    state = {key: tensor for key, tensor in model.state_dict().items() if ".lora_" not in key}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            weight = state[f"{name}.base_layer.weight"]
            with torch.no_grad():
                merged = weight.float() + module.get_delta_weight(ADAPTER).float()
            state[f"{name}.base_layer.weight"] = merged.to(weight.dtype).cpu()
    return {key.replace(".base_layer.", "."): tensor for key, tensor in state.items()}


@contextlib.contextmanager
def adapters_disabled(model: nn.Module) -> Iterator[None]:
    """The model without its adapters, as it was before training."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def base_of(folder: Path) -> str:
    """The checkpoint that the adapter in ``folder`` belongs to."""
    try:
        base: Any = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get(
            "base_model_name_or_path"
        )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"policy.path: {folder / ADAPTER_CONFIG} cannot be read: {error}") from error
    if not base:
        raise CheckpointError(
            f"policy.path: {folder / ADAPTER_CONFIG} does not name its base; set "
            f"base_model_name_or_path in it"
        )
    return str(base)


def _inject(model: OpenVLAModel, config: LoraConfig) -> None:
    """Only adapters train, in float32: their updates are too small for bfloat16."""
    inject_adapter_in_model(config, model, ADAPTER)
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        parameter.requires_grad_(adapter)
        if adapter:
            parameter.data = parameter.data.float()


def _target_modules(model: OpenVLAModel) -> list[str]:
    """Every linear layer but the head and those that never affect the output."""
    towers = (model.vision_backbone.featurizer, model.vision_backbone.fused_featurizer)
    left_out = {
        id(module) for tower in towers for unused in tower.unused_modules() for module in unused.modules()
    }
    left_out.add(id(model.language_model.lm_head))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in left_out
    ]


def _check_adapter(folder: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    problems = [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {key}" for key in sorted(found.keys() - expected.keys())]
    problems += [
        f"{key}: expected {list(expected[key].shape)}, got {list(found[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if expected[key].shape != found[key].shape
    ]
    if problems:
        raise CheckpointError(
            f"policy.path: the adapter in {folder} does not fit its base:\n  " + "\n  ".join(problems)
        )
