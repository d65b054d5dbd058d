"""Reads and writes safetensors; reading requires exactly the expected tensors, with the expected shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

from ttrl_env.agents.policies.stored_weights import fill_module, weight_files

SHARD_SIZE = "5GB"
"""Largest file that is written, as in published checkpoints."""


def read_weights(folder: Path, module: nn.Module, dtype: torch.dtype | None) -> None:
    """Load the tensors of a checkpoint folder into ``module``, which is built on the meta device.

    Args:
        folder: the folder with ``model.safetensors``, or with shards and their index.
        module: the module; its state dict defines the expected tensors.
        dtype: type to which tensors are converted; None: as stored.

    Raises:
        CheckpointError: tensors do not match. The message lists every key that is missing, unexpected or of
            another shape, with likely causes.
    """
    fill_module(module, weight_files(folder), _likely_causes, dtype)


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, in shards with an index if they exceed ``SHARD_SIZE``."""
    state = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    save_torch_state_dict(state, folder, max_shard_size=SHARD_SIZE, metadata={"format": "pt"})


def _likely_causes(missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]) -> list[str]:
    """Likely causes of such differences; several may apply."""
    absent_or_extra = [*missing, *unexpected]
    signs: list[tuple[Callable[[], bool], str]] = [
        (
            lambda: any("lora_" in key or ".base_layer." in key for key in unexpected),
            "a LoRA adapter that was not merged; merge it into its base, or load the adapter's own folder",
        ),
        (
            lambda: any(word in key for key in unexpected for word in ("action_head", "film")),
            "OpenVLA-OFT with a regression head or FiLM: not the discrete model",
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
