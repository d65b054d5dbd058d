"""Reads a checkpoint's JSON files: configuration, action statistics and pixel normalisation.

They are read strictly and as data, without ``AutoConfig``, which would run remote code named in ``auto_map``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.common.checkpoint_files import read_own_json, unexpected_value
from ttrl_env.agents.config.choices import OPENVLA
from ttrl_env.agents.policies.action_tokenizer import NUM_ACTION_TOKENS
from ttrl_env.agents.policies.openvla.text_config import check_text_config
from ttrl_env.agents.policies.openvla.vision import KNOWN_BACKBONES, ViTShape
from ttrl_env.agents.policies.sizes import is_size
from ttrl_env.errors import CheckpointError

_LARGEST_IMAGE = 4096

ACTION_DIMS = (7, 14)
"""Numbers of an action: of one arm (LIBERO) and of two (RoboTwin)."""

_ACTION_NUMBERS = "7 numbers for one arm, or 14 for two, as many as q01 has"

_DOWNLOAD = "a published OpenVLA folder does. Download the whole repository"

_WHERE_IT_IS = {
    "preprocessor_config.json": (
        "checkpoints that SimpleVLA-RL saves lack it, and dataset_statistics.json. Copy both from the "
        "checkpoint that training started from"
    ),
}
"""Advice for the error about a missing file."""


@dataclass(frozen=True, kw_only=True)
class ActionStatistics:
    """The normalisation of one dataset's actions. Arrays are ``[action_dim]``."""

    low: NDArray[np.float64]
    """1 % quantile (``q01``), which is normalised to -1."""
    high: NDArray[np.float64]
    """99 % quantile (``q99``), which is normalised to +1."""
    mask: NDArray[np.bool_]
    """False for entries that are not normalised: in LIBERO, the gripper."""
    minimum: NDArray[np.float64] | None
    """Smallest action (``min``); ``None`` if the file has none."""
    maximum: NDArray[np.float64] | None
    """Largest action (``max``); ``None`` if the file has none."""


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
    config = _Json(folder, "config.json")
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
    means, stds = _normalisation(_Json(folder, "preprocessor_config.json"))
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
        statistics=_statistics(folder, config),
    )


class _Json:
    """A JSON file of a checkpoint; errors about its values name it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / name
        if not self.file.exists():
            raise CheckpointError(f"policy.path: {folder} has no {name}; {_WHERE_IT_IS.get(name, _DOWNLOAD)}")
        self.content = read_own_json(folder, name)

    def get(self, key: str, kind: type) -> Any:
        value = self.content.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"a {kind.__name__}", value)
        return value

    def error(self, key: str, expected: str, got: Any) -> CheckpointError:
        return unexpected_value(self.file, key, expected, got)


def _require(config: _Json, key: str, value: Any) -> None:
    if config.content.get(key) != value:
        raise config.error(key, repr(value), config.content.get(key))


def _text(config: _Json) -> dict[str, Any]:
    try:
        return check_text_config(config.get("text_config", dict))
    except ValueError as error:
        raise CheckpointError(f"policy.path: {config.file}: text_config{error}") from error


def _num_bins(config: _Json) -> int:
    """The number of bins; kernels and decoding support only one."""
    num_bins = config.get("n_action_bins", int)
    if num_bins != NUM_ACTION_TOKENS:
        raise config.error("n_action_bins", str(NUM_ACTION_TOKENS), num_bins)
    return num_bins


def _image_size(config: _Json) -> int:
    sizes = config.get("image_sizes", list)
    if len(sizes) != 2 or sizes[0] != sizes[1] or not is_size(sizes[0], _LARGEST_IMAGE):
        raise config.error("image_sizes", f"the same size twice, at most {_LARGEST_IMAGE}", sizes)
    patches = {shape.patch_size for shape in _backbones(config)}
    if any(sizes[0] % patch for patch in patches):
        raise config.error("image_sizes", f"a multiple of the patches' {sorted(patches)}", sizes)
    return sizes[0]


def _backbones(config: _Json) -> tuple[ViTShape, ViTShape]:
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


def _normalisation(preprocessor: _Json) -> tuple[tuple[tuple[float, ...], ...], ...]:
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


def _statistics(folder: Path, config: _Json) -> dict[str, ActionStatistics]:
    """Statistics from ``dataset_statistics.json`` if there, else from ``config.json``'s ``norm_stats``."""
    source, datasets = config, config.content.get("norm_stats")
    if (folder / "dataset_statistics.json").exists():
        source = _Json(folder, "dataset_statistics.json")
        datasets = source.content
    if not isinstance(datasets, dict) or not datasets:
        raise config.error(
            "norm_stats", "action statistics here or in dataset_statistics.json beside it", datasets
        )
    return {key: _action_statistics(source, key, value) for key, value in datasets.items()}


def _action_statistics(source: _Json, key: str, dataset: Any) -> ActionStatistics:
    try:
        action = dataset["action"]
        arrays = {name: np.asarray(action[name], dtype=np.float64) for name in ("q01", "q99")}
        extremes = {
            name: np.asarray(action[name], dtype=np.float64) for name in ("min", "max") if name in action
        }
        mask = np.asarray(action.get("mask", [True] * arrays["q01"].size), dtype=np.bool_)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise source.error(f"{key}.action", "q01, q99 and mask, lists of numbers", dataset) from error
    dims = arrays["q01"].size
    for name, array in {**arrays, **extremes, "mask": mask}.items():
        if array.shape != (dims,) or dims not in ACTION_DIMS or not np.isfinite(array).all():
            raise source.error(f"{key}.action.{name}", _ACTION_NUMBERS, array.tolist())
    if (arrays["q01"] > arrays["q99"])[mask].any():
        raise source.error(f"{key}.action", "q01 of at most q99", dataset)
    return ActionStatistics(
        low=arrays["q01"],
        high=arrays["q99"],
        mask=mask,
        minimum=extremes.get("min"),
        maximum=extremes.get("max"),
    )
