"""Loads OpenVLA checkpoint folders: full models and LoRA adapters."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from ttrl_env.agents.common.checkpoint_files import LARGEST_SMALL_FILE, read_own_file, read_own_json
from ttrl_env.agents.config.choices import CHUNK_STEPS
from ttrl_env.agents.policies.finding import HUB, find_policy, is_repo_id
from ttrl_env.agents.policies.openvla import lora
from ttrl_env.agents.policies.openvla.actions import choose_statistics
from ttrl_env.agents.policies.openvla.adapter_config import ADAPTER_CONFIG, base_of, read_adapter_config
from ttrl_env.agents.policies.openvla.config import OpenVLAConfig, read_config
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.oft_parts import refuse_parts
from ttrl_env.agents.policies.openvla.policy import (
    AdaptedOpenVLAPolicy,
    OpenVLAPolicy,
)
from ttrl_env.agents.policies.openvla.prompt import PromptTokenizer
from ttrl_env.agents.policies.openvla.records import ActionSpace, Source
from ttrl_env.agents.policies.openvla.weights import read_weights
from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.origin import ACTION_SPACE_FILE
from ttrl_env.agents.policies.stored_weights import INDEX, SINGLE_FILE
from ttrl_env.errors import CheckpointError

_DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}

_DEFAULT_CHUNKS = {"parallel": CHUNK_STEPS, "autoregressive": 1}

_SIDE_FILES = (".json", ".model", ".txt", ".py")


def load_openvla(folder: Path, options: PolicyOptions, source: str) -> OpenVLAPolicy:
    """Load a full checkpoint, or a LoRA adapter together with the base that it names.

    Args:
        folder: the checkpoint's folder. An adapter without a ``config.json`` uses its base's.
        options: settings that the files do not contain.
        source: the base's name for adapters that are trained on this checkpoint.

    Raises:
        CheckpointError: a file, key or tensor does not fit; the message names it.
    """
    adapter = folder if (folder / ADAPTER_CONFIG).exists() else None
    if adapter is not None and any((folder / name).exists() for name in (INDEX, SINGLE_FILE)):
        raise CheckpointError(
            f"policy.path: {folder} has weights of its own beside {ADAPTER_CONFIG}; remove the one that is "
            f"not intended"
        )
    source = source if adapter is None else base_of(folder)
    if adapter is not None and not is_repo_id(source) and not os.path.isdir(os.path.expanduser(source)):
        raise CheckpointError(
            f"policy.path: the adapter in {folder} belongs to {source}, which is not there; write its new "
            f"path into base_model_name_or_path of {ADAPTER_CONFIG}"
        )
    weights = folder
    if adapter is not None:
        weights = find_policy(f"{HUB}{source}" if is_repo_id(source) else source)
    folder = folder if (folder / "config.json").is_file() else weights
    for each in dict.fromkeys((adapter or weights, weights)):
        refuse_parts(each)
    config = read_config(folder)
    action_space = _action_space(folder, config, options)
    tokenizer = _tokenizer(folder, config)
    adapters = None if adapter is None else _saved_lora(adapter, options)
    files = _side_files(folder)
    model = _build(config, weights, options)
    if adapter is not None and adapters is not None:
        lora.read_lora(model, adapters, adapter)
    elif options.lora_rank:
        adapters = lora.add_lora(model, options.lora_rank, options.lora_alpha, options.seed)
    if options.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    parts = (config, model, tokenizer, action_space, Source(name=source, files=files))
    if adapters is None:
        return OpenVLAPolicy(*parts, autocast=options.autocast)
    return AdaptedOpenVLAPolicy(*parts, lora=adapters, autocast=options.autocast)


def _tokenizer(folder: Path, config: OpenVLAConfig) -> PromptTokenizer:
    tokenizer = PromptTokenizer.from_folder(folder, config.bos_id, config.pad_id)
    rows = config.text["vocab_size"]
    if tokenizer.largest_id >= rows:
        raise CheckpointError(
            f"policy.path: {folder / 'tokenizer.json'} has ids up to {tokenizer.largest_id}, but embeddings "
            f"end at {rows - 1} (text_config.vocab_size in config.json); it is not this checkpoint's own"
        )
    return tokenizer


def _build(config: OpenVLAConfig, weights: Path, options: PolicyOptions) -> OpenVLAModel:
    """The network with a checkpoint's tensors.

    It is built on the meta device first, so that memory holds the weights only once.
    """
    with torch.device("meta"):
        model = OpenVLAModel(config)
    read_weights(weights, model, _DTYPES[options.dtype])
    # absent from the checkpoint; always float32
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.language_model.config)
    dtype = model.language_model.lm_head.weight.dtype
    if options.autocast and dtype != torch.float32:
        raise CheckpointError(
            f"policy.openvla.autocast: expected float32 weights, the checkpoint's are {dtype}; "
            f"set policy.openvla.dtype=float32"
        )
    return model


def _saved_lora(adapter: Path, options: PolicyOptions) -> LoraConfig:
    config = read_adapter_config(adapter)
    if options.lora_rank not in (0, config.r):
        raise CheckpointError(
            f"policy.openvla.lora_rank: the adapter in {adapter} has rank {config.r}, got {options.lora_rank}"
        )
    return config


def _action_space(folder: Path, config: OpenVLAConfig, options: PolicyOptions) -> ActionSpace:
    """The action space: from the options, else as ``save_pretrained`` stored it, else the only choice."""
    recorded = _recorded(folder / ACTION_SPACE_FILE)
    decoding = options.decoding or recorded.get("decoding")
    if decoding is None:
        raise CheckpointError(
            f"policy.openvla.decoding: {folder} does not say how it decodes actions. Set "
            f"policy.openvla.decoding=parallel for OpenVLA-OFT with discrete tokens, "
            f"policy.openvla.decoding=autoregressive for the original OpenVLA"
        )
    for key in ("policy.openvla.decoding", "policy.chunk_steps"):
        name = key.rpartition(".")[2]
        asked = getattr(options, name)
        if asked is not None and recorded.get(name, asked) != asked:
            raise CheckpointError(f"{key}: {folder} was trained with {recorded[name]!r}, got {asked!r}")
    return ActionSpace(
        decoding=decoding,
        chunk_steps=options.chunk_steps or recorded.get("chunk_steps") or _DEFAULT_CHUNKS[decoding],
        unnorm_key=choose_statistics(config.statistics, options.unnorm_key or recorded.get("unnorm_key")),
    )


def _recorded(file: Path) -> dict[str, Any]:
    """The action space that ``save_pretrained`` stored; empty for a published checkpoint."""
    if not file.exists():
        return {}
    content = read_own_json(file.parent, file.name)
    try:
        recorded = asdict(ActionSpace(**content))
        PolicyOptions(**recorded)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"policy.path: {file} cannot be read: {error}") from error
    return recorded


def _side_files(folder: Path) -> dict[str, bytes]:
    """Small files that are copied with the weights. Code among them is never run."""
    written = (INDEX, ACTION_SPACE_FILE, ADAPTER_CONFIG)
    return {
        file.name: read_own_file(folder, file.name)
        for file in sorted(folder.iterdir())
        if file.suffix in _SIDE_FILES
        and file.name not in written
        and not file.is_dir()
        and file.stat().st_size <= LARGEST_SMALL_FILE
    }
