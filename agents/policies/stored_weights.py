"""Safetensors read strictly: the tensors that a module expects, compared before any of them is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ttrl_env.agents.common.checkpoint_files import own_file, read_own_json
from ttrl_env.errors import CheckpointError

SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of tensors by name."""

Causes = Callable[[Sequence[str], Sequence[str], Sequence[str]], list[str]]
"""What usually leads to missing, unexpected and misshaped tensors."""

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def fill_module(
    module: nn.Module, files: Sequence[Path], causes: Causes, dtype: torch.dtype | None = None
) -> None:
    """Give ``module``, built on the meta device, the tensors of a checkpoint's files.

    Args:
        module: its state dict names the tensors that are expected.
        files: safetensors, of one folder.
        causes: for the error.
        dtype: type the tensors are converted to; None: as stored.

    Raises:
        CheckpointError: a file cannot be read, or tensors are missing, unexpected, of another shape or no
            floating-point numbers; each such tensor is named.
    """
    found = _read_headers(files, dtype)
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    check_shapes(f"the weights in {files[0].parent} do not fit its config.json", expected, found, causes)
    for file in files:
        state = read_tensors(file)
        state = {key: tensor if dtype is None else tensor.to(dtype) for key, tensor in state.items()}
        module.load_state_dict(state, strict=False, assign=True)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, all of them there."""
    if not (folder / INDEX).exists():
        return [_single_file(folder)]
    if (folder / SINGLE_FILE).exists():
        raise CheckpointError(
            f"policy.path: {folder} has both {INDEX} and {SINGLE_FILE}; take away the weights that "
            f"are not meant"
        )
    index = read_own_json(folder, INDEX).get("weight_map")
    if not index or not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise CheckpointError(
            f"policy.path: {folder / INDEX} cannot be read: weight_map: expected files by names of tensors, "
            f"got {index!r:.80}"
        )
    files = [folder / name for name in sorted(set(index.values()))]
    absent = [file.name for file in files if not file.exists()]
    if absent:
        raise CheckpointError(
            f"policy.path: {folder} lacks {', '.join(absent)}, which its index names: an incomplete download"
        )
    return files


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of one file."""
    with open_tensors(file) as tensors:
        return {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118


def open_tensors(file: Path) -> Any:
    """One safetensors file, as ``safe_open`` gives it; its lengths are checked against the file's size."""
    try:
        return safe_open(own_file(file.parent, file.name), framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"policy.path: {file} cannot be read ({error}): {_what_is_wrong(file)}"
        ) from error


def check_shapes(what: str, expected: Shapes, found: Shapes, causes: Causes | None = None) -> None:
    """Raise :class:`CheckpointError` with every name or shape in which the two differ."""
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    mismatched = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    if not (missing or unexpected or mismatched):
        return
    lines = [f"policy.path: {what}:"]
    lines += [f"  missing {key} {list(expected[key])}" for key in missing]
    lines += [f"  unexpected {key} {list(found[key])}" for key in unexpected]
    lines += [f"  {key}: expected {list(expected[key])}, got {list(found[key])}" for key in mismatched]
    if causes is not None:
        lines += [f"Likely cause: {cause}." for cause in causes(missing, unexpected, mismatched)]
    raise CheckpointError("\n".join(lines))


def check_types(file: Path, types: Mapping[str, str]) -> None:
    """Raise unless all tensors of a file are floating-point numbers; ``types`` as safetensors names them."""
    others = [f"{key} ({kind})" for key, kind in sorted(types.items()) if kind not in _TYPES]
    if others:
        raise CheckpointError(
            f"policy.path: {file}: expected tensors of {', '.join(_TYPES)}, got {', '.join(others)}; "
            f"quantised weights are not read"
        )


def _single_file(folder: Path) -> Path:
    """Where a checkpoint of one file has its weights; pickles could run code and are never read."""
    if (folder / SINGLE_FILE).exists():
        return folder / SINGLE_FILE
    pickled = sorted(
        file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt")
    )
    advice = ""
    if pickled:
        advice = (
            f"; {pickled[0]} is a pickle, which is never read: load it where you trust it and save it anew "
            f"with save_pretrained"
        )
    raise CheckpointError(
        f"policy.path: {folder} has neither {SINGLE_FILE} nor {INDEX}; expected safetensors weights{advice}"
    )


def _read_headers(files: Sequence[Path], dtype: torch.dtype | None) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    kinds: set[str] = set()
    for file in files:
        with open_tensors(file) as tensors:
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            types = {key: part.get_dtype() for key, part in slices.items()}
            twice = sorted(shapes.keys() & slices.keys())
            if twice:
                raise CheckpointError(
                    f"policy.path: {file} has {', '.join(twice)}, which another file has too"
                )
            shapes |= {key: tuple(part.get_shape()) for key, part in slices.items()}
        check_types(file, types)
        kinds |= set(types.values())
    if dtype is None and len(kinds) > 1:
        raise CheckpointError(
            f"policy.path: the weights in {files[0].parent} are of several types, "
            f"{', '.join(sorted(kinds))}; expected one, or for OpenVLA policy.openvla.dtype to convert them"
        )
    return shapes


def _what_is_wrong(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights; run `git lfs pull` in that folder"
    return "a damaged file; download or copy it again"
