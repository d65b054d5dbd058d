"""LoRA adapters (Hu et al. 2021) with ``peft``, on every linear layer except the head and unused layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from ttrl_env.agents.policies.openvla.adapted_linear import AdaptedLinear
from ttrl_env.agents.policies.openvla.adapter_config import ADAPTER_CONFIG
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.oft_parts import PROJECTOR
from ttrl_env.agents.policies.stored_weights import check_shapes, check_types, open_tensors, read_tensors
from ttrl_env.errors import CheckpointError

ADAPTER = "default"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
"""Prefix of every key in an adapter file that peft's own models write."""


def add_lora(model: OpenVLAModel, rank: int, alpha: float, seed: int) -> LoraConfig:
    """Freeze ``model`` and add new adapters; they have no effect yet, because their B is zero."""
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
    _train_adapters_only(model)
    return config


def read_lora(model: OpenVLAModel, config: LoraConfig, folder: Path) -> None:
    """Freeze ``model`` and add the adapter in ``folder``; raises if its tensors do not match ``config``."""
    state = _adapter_tensors(folder)
    adapts_projector = any(key.startswith(f"{PROJECTOR}.") for key in state)
    try:
        # on the meta device until shapes are compared: the rank may differ from the file's
        with contextlib.nullcontext() if adapts_projector else _without_projector(model):
            _inject(model, config, on_meta=True)
    except ValueError as error:
        raise CheckpointError(f"policy.path: {folder / ADAPTER_CONFIG}: target_modules: {error}") from error
    _refuse_other_layers(model, folder)
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    check_shapes(f"the adapter in {folder} does not fit its base", _shapes(expected), _shapes(state))
    set_peft_model_state_dict(model, state, low_cpu_mem_usage=True)
    _train_adapters_only(model)


def write_lora(model: OpenVLAModel, config: LoraConfig, folder: Path, base: str) -> None:
    """Write the adapter in peft's format, with the name of its base."""
    config.base_model_name_or_path = base
    config.save_pretrained(str(folder))
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {_PREFIX + key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict under its published names, with adapters (if any) merged into the weights."""
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
    """Switch adapters off while the context is open: the model is then as before training."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _inject(model: OpenVLAModel, config: LoraConfig, *, on_meta: bool = False) -> None:
    config._register_custom_module({nn.Linear: AdaptedLinear})
    inject_adapter_in_model(config, model, ADAPTER, low_cpu_mem_usage=on_meta)


@contextlib.contextmanager
def _without_projector(model: OpenVLAModel) -> Iterator[None]:
    """Take the state's projector out: OpenVLA-OFT trains it whole, and its layers have common names."""
    projector, model.proprio_projector = model.proprio_projector, None
    try:
        yield
    finally:
        model.proprio_projector = projector


def _train_adapters_only(model: OpenVLAModel) -> None:
    """Freeze all but the adapters, which become float32: their updates are too small for bfloat16."""
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        parameter.requires_grad_(adapter)
        if adapter:
            parameter.data = parameter.data.float()


def _adapter_tensors(folder: Path) -> dict[str, Tensor]:
    """Tensors of an adapter's file by key, without peft's prefix."""
    file = folder / ADAPTER_WEIGHTS
    if not file.exists():
        raise CheckpointError(
            f"policy.path: {folder} has no {ADAPTER_WEIGHTS}, the only kind of adapter weights that is read; "
            f"save it anew with peft (save_pretrained)"
        )
    with open_tensors(file) as tensors:
        check_types(file, {key: tensors.get_slice(key).get_dtype() for key in tensors.keys()})  # noqa: SIM118
    return {key.removeprefix(_PREFIX): tensor for key, tensor in read_tensors(file).items()}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def _refuse_other_layers(model: OpenVLAModel, folder: Path) -> None:
    """Raise if an adapter is on the head or on a layer that is not linear.

    A kernel multiplies by the head's weights directly and would ignore its adapter.
    """
    if isinstance(model.language_model.lm_head, LoraLayer):
        raise CheckpointError(
            f"policy.path: the adapter in {folder} changes the head (lm_head); merge it into its base with "
            f"peft (merge_and_unload) and load the result"
        )
    others = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and not isinstance(module, LoraLinear)
    ]
    if others:
        raise CheckpointError(
            f"policy.path: the adapter in {folder} changes {', '.join(others)}; expected linear layers only. "
            f"Merge it into its base with peft (merge_and_unload) and load the result"
        )


def _target_modules(model: OpenVLAModel) -> list[str]:
    """Names of all linear layers, except the head and those that never affect the output."""
    left_out = {
        id(module)
        for tower in model.vision_backbone.towers
        for unused in tower.unused_modules()
        for module in unused.modules()
    }
    left_out.add(id(model.language_model.lm_head))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in left_out
    ]
