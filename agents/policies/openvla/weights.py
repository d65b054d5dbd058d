"""Safetensors in and out: every tensor must be there, none left over, all of the right shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ttrl_env.errors import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
SHARD_SIZE = "5GB"
"""Largest file that is written, as published checkpoints have it."""

Shapes = Mapping[str, tuple[int, ...]]


def read_weights(folder: Path, module: nn.Module, dtype: torch.dtype | None) -> None:
    """Give ``module``, built on the meta device, the tensors of a checkpoint folder.

    Args:
        folder: with ``model.safetensors`` or shards and their index.
        module: its state dict names the tensors that are expected.
        dtype: type the tensors are converted to; None: as stored.

    Raises:
        CheckpointError: lists every key that is missing, unexpected or of another shape, and why that
            usually happens.
    """
    files = _weight_files(folder)
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        with _open(file) as tensors:
            found |= {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    _check_keys(folder, expected, found)
    for file in files:
        with _open(file) as tensors:
            state = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        state = {key: tensor if dtype is None else tensor.to(dtype) for key, tensor in state.items()}
        module.load_state_dict(state, strict=False, assign=True)


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, in shards with an index where they exceed ``SHARD_SIZE``."""
    state = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    save_torch_state_dict(state, folder, max_shard_size=SHARD_SIZE, metadata={"format": "pt"})


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, all of them there."""
    heads = sorted(file.name for file in folder.glob("action_head--*"))
    if heads:
        raise CheckpointError(
            f"policy.path: {folder} has {heads[0]}: OpenVLA-OFT with a regression or diffusion head. Such a "
            f"checkpoint has no distribution over action tokens to sample from (its lm_head is untrained); "
            f"take one fine-tuned with discrete tokens"
        )
    if not (folder / INDEX).is_file():
        if (folder / SINGLE_FILE).is_file():
            return [folder / SINGLE_FILE]
        raise CheckpointError(
            f"policy.path: {folder} has neither {INDEX} nor {SINGLE_FILE}; expected safetensors weights"
        )
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = [folder / name for name in sorted(set(index.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"policy.path: {folder / INDEX} cannot be read: {error}") from error
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise CheckpointError(
            f"policy.path: {folder} lacks {', '.join(absent)}, which its index names: an incomplete download"
        )
    return files


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"policy.path: {file} cannot be read ({error}): a damaged file or a Git LFS pointer"
        ) from error


def _check_keys(folder: Path, expected: Shapes, found: Shapes) -> None:
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    mismatched = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    if not (missing or unexpected or mismatched):
        return
    lines = [f"policy.path: the weights in {folder} do not fit its config.json:"]
    lines += [f"  missing {key} {list(expected[key])}" for key in missing]
    lines += [f"  unexpected {key} {list(found[key])}" for key in unexpected]
    lines += [f"  {key}: expected {list(expected[key])}, got {list(found[key])}" for key in mismatched]
    lines += [f"Likely cause: {cause}." for cause in _likely_causes(missing, unexpected, mismatched)]
    raise CheckpointError("\n".join(lines))


def _likely_causes(missing: list[str], unexpected: list[str], mismatched: list[str]) -> list[str]:
    """What usually leads to such keys; several may apply."""
    absent_or_extra = [*missing, *unexpected]
    signs: list[tuple[Callable[[], bool], str]] = [
        (
            lambda: any("lora_" in key or ".base_layer." in key for key in unexpected),
            "a LoRA adapter that was not merged; merge it into its base, or load the adapter's own folder",
        ),
        (
            lambda: any(word in key for key in unexpected for word in ("action_head", "proprio", "film")),
            "OpenVLA-OFT with a regression head, proprioception or FiLM: not the discrete model",
        ),
        (
            lambda: any("fused_featurizer" in key for key in absent_or_extra),
            "one vision backbone where two are expected, or the reverse (use_fused_vision_backbone)",
        ),
        (
            lambda: any(".gamma" in key for key in unexpected),
            "timm's names of LayerScale; published checkpoints call gamma scale_factor",
        ),
        (
            lambda: any("embed_tokens" in key or "lm_head" in key for key in mismatched),
            "another vocabulary, or one that is not padded by pad_to_multiple_of",
        ),
        (
            lambda: any("pos_embed" in key for key in mismatched),
            "vision towers of another image size than image_sizes says",
        ),
        (
            lambda: bool(missing) and not unexpected and not mismatched,
            "an incomplete checkpoint: a shard or a part of the model was not saved",
        ),
    ]
    return [cause for applies, cause in signs if applies()] or ["a checkpoint of another architecture"]
