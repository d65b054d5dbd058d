"""Reads a checkpoint's JSON files: configuration, action statistics and pixel normalisation.

They are read strictly and as data, without ``AutoConfig``, which would run remote code named in ``auto_map``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttrl_env.agents.config.choices import OPENVLA
from ttrl_env.agents.policies.action_tokenizer import NUM_ACTION_TOKENS
from ttrl_env.agents.policies.openvla.json_files import JsonFile
from ttrl_env.agents.policies.openvla.statistics import ActionStatistics, read_statistics
from ttrl_env.agents.policies.openvla.text_config import check_text_config
from ttrl_env.agents.policies.openvla.vision import KNOWN_BACKBONES, ViTShape
from ttrl_env.agents.policies.sizes import is_size
from ttrl_env.errors import CheckpointError

_LARGEST_IMAGE = 4096


@dataclass(frozen=True, kw_only=True)
class OpenVLAConfig:
    """A checkpoint's architecture and data conventions."""

    text: dict[str, Any]
    """Arguments of ``transformers.LlamaConfig``, exactly as published. Absent ones keep Llama's defaults."""
    backbones: tuple[ViTShape, ViTShape]
    """DINOv2 and SigLIP, in the order of the pixel channels."""
    bos_id: int
    """Id of the token that starts every prompt."""
    pad_id: int
    """Id of the token that pads prompts; attention masks it."""
    image_size: int
    """Height and width of the vision towers' input, pixels."""
    vocab_size: int
    """Size of the vocabulary without padding; action tokens are its last ``num_bins`` ids."""
    num_bins: int
    """Number of action tokens."""
    pixel_means: tuple[tuple[float, ...], ...]
    """Mean of each backbone's pixel normalisation, three channels each."""
    pixel_stds: tuple[tuple[float, ...], ...]
    """Standard deviation of each backbone's pixel normalisation, three channels each."""
    statistics: Mapping[str, ActionStatistics]
    """Action statistics by dataset."""

    @property
    def window(self) -> tuple[int, int]:
        """Half-open range of the action tokens in the vocabulary: (31744, 32000) as published."""
        return self.vocab_size - self.num_bins, self.vocab_size


def read_config(folder: Path) -> OpenVLAConfig:
    """Parse a checkpoint folder's JSON files.

    Raises:
        CheckpointError: a file or key is missing, or has a value that this loader does not support.
    """
    config = JsonFile(folder, "config.json")
    _require(config, "model_type", OPENVLA)
    _require(config, "arch_specifier", "no-align+fused-gelu-mlp")
    if not config.content.get("use_fused_vision_backbone", True):
        raise config.error("use_fused_vision_backbone", "true: DINOv2 and SigLIP together", False)
    if config.content.get("quantization_config"):
        raise config.error("quantization_config", "none", config.content["quantization_config"])
    text = _text(config)
    rows, padding, num_bins = text["vocab_size"], config.get("pad_to_multiple_of", int), _num_bins(config)
    if not 0 <= padding <= rows - num_bins:
        raise config.error("pad_to_multiple_of", f"0 or more, at most {rows - num_bins}", padding)
    pad_id = config.get("pad_token_id", int)
    if not 0 <= pad_id < rows:
        raise config.error("pad_token_id", f"an id below text_config.vocab_size={rows}", pad_id)
    means, stds = _normalisation(JsonFile(folder, "preprocessor_config.json"))
    return OpenVLAConfig(
        text=text,
        backbones=_backbones(config),
        bos_id=text.get("bos_token_id", 1),
        pad_id=pad_id,
        image_size=_image_size(config),
        vocab_size=rows - padding,
        num_bins=num_bins,
        pixel_means=means,
        pixel_stds=stds,
        statistics=read_statistics(folder),
    )


def _require(config: JsonFile, key: str, value: Any) -> None:
    if config.content.get(key) != value:
        raise config.error(key, repr(value), config.content.get(key))


def _text(config: JsonFile) -> dict[str, Any]:
    try:
        return check_text_config(config.get("text_config", dict))
    except ValueError as error:
        raise CheckpointError(f"policy.path: {config.file}: text_config{error}") from error


def _num_bins(config: JsonFile) -> int:
    """The number of bins; kernels and decoding support only one."""
    num_bins = config.get("n_action_bins", int)
    if num_bins != NUM_ACTION_TOKENS:
        raise config.error("n_action_bins", str(NUM_ACTION_TOKENS), num_bins)
    return num_bins


def _image_size(config: JsonFile) -> int:
    sizes = config.get("image_sizes", list)
    if len(sizes) != 2 or sizes[0] != sizes[1] or not is_size(sizes[0], _LARGEST_IMAGE):
        raise config.error("image_sizes", f"the same size twice, at most {_LARGEST_IMAGE}", sizes)
    patches = {shape.patch_size for shape in _backbones(config)}
    if any(sizes[0] % patch for patch in patches):
        raise config.error("image_sizes", f"a multiple of the patches' {sorted(patches)}", sizes)
    return sizes[0]


def _backbones(config: JsonFile) -> tuple[ViTShape, ViTShape]:
    """Shapes of the two towers: from ``timm_model_args`` if the file has it, otherwise by timm id."""
    if "timm_model_args" in config.content:
        shapes = config.get("timm_model_args", list)
        try:
            first, second = (ViTShape(**shape) for shape in shapes)
        except (TypeError, ValueError) as error:
            raise config.error("timm_model_args", f"two ViTShape objects ({error})", shapes) from error
        return first, second
    ids = config.get("timm_model_ids", list)
    unknown = [name for name in ids if name not in KNOWN_BACKBONES]
    if len(ids) != 2 or unknown:
        raise config.error("timm_model_ids", f"two of {', '.join(KNOWN_BACKBONES)}", ids)
    return KNOWN_BACKBONES[ids[0]], KNOWN_BACKBONES[ids[1]]


def _normalisation(preprocessor: JsonFile) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Means and standard deviations from ``tvf_normalize_params``, which the published processor uses."""
    params = preprocessor.get("tvf_normalize_params", list)
    try:
        means, stds = (tuple(tuple(map(float, each[key])) for each in params) for key in ("mean", "std"))
    except (TypeError, KeyError, ValueError) as error:
        raise preprocessor.error("tvf_normalize_params", "objects with mean and std", params) from error
    lengths = [len(each) for each in (*means, *stds)]
    if lengths != [3] * 4 or not np.isfinite([*means, *stds]).all() or not min(map(min, stds)) > 0:
        raise preprocessor.error(
            "tvf_normalize_params", "two backbones of three channels, std above 0", params
        )
    return means, stds
