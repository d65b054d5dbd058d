"""Loads OpenVLA checkpoint folders: full models and LoRA adapters."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from peft import LoraConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from ttrl_env.agents.common.checkpoint_files import LARGEST_SMALL_FILE, read_own_file
from ttrl_env.agents.policies.finding import HUB, find_policy, is_repo_id
from ttrl_env.agents.policies.openvla import lora
from ttrl_env.agents.policies.openvla.action_space import read_action_space
from ttrl_env.agents.policies.openvla.adapter_config import ADAPTER_CONFIG, base_of, read_adapter_config
from ttrl_env.agents.policies.openvla.compiling import compile_blocks, require_compiler
from ttrl_env.agents.policies.openvla.config import OpenVLAConfig, read_config
from ttrl_env.agents.policies.openvla.model import OpenVLAModel, ProprioProjector
from ttrl_env.agents.policies.openvla.oft_parts import refuse_parts
from ttrl_env.agents.policies.openvla.policy import (
    AdaptedOpenVLAPolicy,
    OpenVLAPolicy,
)
from ttrl_env.agents.policies.openvla.projector_files import (
    ProjectorPlace,
    read_projector,
)
from ttrl_env.agents.policies.openvla.prompt import PromptTokenizer
from ttrl_env.agents.policies.openvla.records import Source
from ttrl_env.agents.policies.openvla.statistics import (
    read_state_statistics,
)
from ttrl_env.agents.policies.openvla.weights import read_weights
from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.origin import ACTION_SPACE_FILE
from ttrl_env.agents.policies.stored_weights import INDEX, SINGLE_FILE
from ttrl_env.errors import CheckpointError

_DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}

_SIDE_FILES = (".json", ".model", ".txt", ".py")


def load_openvla(folder: Path, options: PolicyOptions, source: str) -> OpenVLAPolicy:
    """Load a full checkpoint, or a LoRA adapter together with the base that it names.

    Args:
        folder: the checkpoint's folder. An adapter without a ``config.json`` uses its base's.
        options: settings that the files do not contain.
        source: the base's name for adapters that are trained on this checkpoint.

    Raises:
        CheckpointError: a file, key or tensor does not fit; the message names it.
        MissingDependencyError: it is to be compiled, and there is no compiler.
    """
    if options.compile:
        require_compiler()
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
    projector = ProjectorPlace.of(folder, adapter, weights, options)
    action_space = read_action_space(folder, config.statistics, options, use_proprio=projector is not None)
    tokenizer = _tokenizer(folder, config)
    adapters = None if adapter is None else _saved_lora(adapter, options)
    files = _side_files(folder)
    state = None
    if projector is not None:
        world = config.statistics[action_space.unnorm_key].world
        state = read_state_statistics(folder, action_space.unnorm_key, world)
    model = _build(config, weights, projector, 0 if state is None else len(state.low), options)
    if adapter is not None and adapters is not None:
        lora.read_lora(model, adapters, adapter)
    elif options.lora_rank:
        adapters = lora.add_lora(model, options.lora_rank, options.lora_alpha, options.seed)
    if options.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if options.compile:
        compile_blocks(model)
    parts = (config, model, tokenizer, action_space, Source(name=source, files=files))
    if adapters is None:
        return OpenVLAPolicy(*parts, state=state, autocast=options.autocast)
    return AdaptedOpenVLAPolicy(*parts, lora=adapters, state=state, autocast=options.autocast)


def _tokenizer(folder: Path, config: OpenVLAConfig) -> PromptTokenizer:
    tokenizer = PromptTokenizer.from_folder(folder, config.bos_id, config.pad_id)
    rows = config.text["vocab_size"]
    if tokenizer.largest_id >= rows:
        raise CheckpointError(
            f"policy.path: {folder / 'tokenizer.json'} has ids up to {tokenizer.largest_id}, but embeddings "
            f"end at {rows - 1} (text_config.vocab_size in config.json); it is not this checkpoint's own"
        )
    return tokenizer


def _build(
    config: OpenVLAConfig,
    weights: Path,
    projector: ProjectorPlace | None,
    state_dim: int,
    options: PolicyOptions,
) -> OpenVLAModel:
    """The network with a checkpoint's tensors, and a projector of ``state_dim`` numbers if it has one.

    It is built on the meta device first, so that memory holds the weights only once.
    """
    with torch.device("meta"):
        among_weights = projector is not None and projector.among_weights
        model = OpenVLAModel(config, state_dim=state_dim if among_weights else 0)
    read_weights(weights, model, _DTYPES[options.dtype])
    if projector is not None and projector.file is not None:
        with torch.device("meta"):
            model.proprio_projector = ProprioProjector(state_dim, model.hidden_size)
        read_projector(projector.file, model.proprio_projector, model.language_model.lm_head.weight.dtype)
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
