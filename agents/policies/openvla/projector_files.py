"""The projector of the robot's state: in a file beside an OpenVLA-OFT's weights, or among them.

OpenVLA-OFT writes ``proprio_projector--150000_checkpoint.pt``, SimpleVLA-RL puts the tensors among the
weights, and this package writes ``proprio_projector.safetensors`` beside adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ttrl_env.agents.common.checkpoint_files import own_file
from ttrl_env.agents.common.saved_tensors import load_saved
from ttrl_env.agents.policies.openvla.action_space import recorded_space
from ttrl_env.agents.policies.openvla.oft_parts import PROJECTOR, is_file_of, part_folders
from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.stored_weights import check_shapes, open_tensors, read_tensors, weight_files
from ttrl_env.errors import CheckpointError

PROJECTOR_FILE = f"{PROJECTOR}.safetensors"

_OF_PARALLEL_TRAINING = "module."
"""Prefix of the keys that a module wrapped for several processes saves."""


@dataclass(frozen=True, kw_only=True)
class ProjectorPlace:
    """Where the projector of the robot's state is."""

    file: Path | None
    """A file beside the adapter or the weights; ``None``: among the weights alone."""
    among_weights: bool

    @classmethod
    def of(
        cls, folder: Path, adapter: Path | None, weights: Path, options: PolicyOptions
    ) -> ProjectorPlace | None:
        """The checkpoint's projector; ``None`` if it has none, and so does not see the state.

        Raises:
            CheckpointError: there are two, or the options or the record say otherwise.
        """
        places = [place for each in (adapter, weights) if each is not None for place in part_folders(each)]
        file, among_weights = _find_file(list(dict.fromkeys(places))), _is_among(weights)
        if file is not None and among_weights and file.parent == weights:
            raise CheckpointError(
                f"policy.path: {weights} has a {PROJECTOR} among its weights and in {file.name}; take away "
                f"the file if it is of the start of the training"
            )
        there = file is not None or among_weights
        asked = options.use_proprio
        if asked is None and not there:
            asked = recorded_space(folder).get("use_proprio")
        if asked is not None and asked != there:
            what = f"a {PROJECTOR}" if there else f"no {PROJECTOR}, beside its weights or among them"
            raise CheckpointError(
                f"policy.openvla.use_proprio: expected {str(there).lower()}, as {weights} has {what}, got "
                f"{str(asked).lower()}"
            )
        return cls(file=file, among_weights=among_weights) if there else None


def _find_file(folders: Sequence[Path]) -> Path | None:
    """The projector's file in the first of ``folders`` that has one.

    Raises:
        CheckpointError: a folder has several.
    """
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if is_file_of(file.name, PROJECTOR))
        if len(files) > 1:
            raise CheckpointError(
                f"policy.path: {folder} has {', '.join(file.name for file in files)}; take away those that "
                f"do not belong to its weights"
            )
        if files:
            return files[0]
    return None


def _is_among(folder: Path) -> bool:
    """Whether the projector's tensors are among the weights in a folder."""
    for file in weight_files(folder):
        with open_tensors(file) as tensors:
            if any(key.startswith(f"{PROJECTOR}.") for key in tensors.keys()):  # noqa: SIM118
                return True
    return False


def read_projector(file: Path, projector: nn.Module, dtype: torch.dtype) -> None:
    """Give ``projector``, on the meta device, the tensors of ``file``, as ``dtype``.

    Raises:
        CheckpointError: the file cannot be read, or its tensors are not exactly the projector's.
    """
    state = _tensors(own_file(file.parent, file.name))
    expected = {key: tuple(tensor.shape) for key, tensor in projector.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    check_shapes(f"{file} is no projector of this checkpoint's state", expected, found)
    projector.load_state_dict({key: tensor.to(dtype) for key, tensor in state.items()}, assign=True)


def write_projector(folder: Path, projector: nn.Module) -> None:
    """Write the projector's own weights, without adapters on them, as ``proprio_projector.safetensors``."""
    state = {key: tensor for key, tensor in projector.state_dict().items() if ".lora_" not in key}
    tensors = {
        key.replace(".base_layer.", "."): tensor.detach().cpu().contiguous() for key, tensor in state.items()
    }
    save_file(tensors, folder / PROJECTOR_FILE, metadata={"format": "pt"})


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return read_tensors(file)
    saved = load_saved(file, "download or copy it again")
    others = [key for key, value in saved.items() if not _is_weight(value)]
    if others:
        raise CheckpointError(
            f"policy.path: {file}: expected tensors of floating-point numbers, got others as "
            f"{', '.join(map(str, others))[:200]}"
        )
    return {str(key).removeprefix(_OF_PARALLEL_TRAINING): value for key, value in saved.items()}


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
