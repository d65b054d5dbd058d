"""Safe reading of a policy's folder from an untrusted source: only regular files of the folder itself.

Small files of the folder are copied into every checkpoint that is saved from it. Links out of the folder are
refused, because they could copy a user's private files into a checkpoint. Pipes and devices are refused,
because reading them could block.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE

from ttrl_env.errors import CheckpointError

LARGEST_SMALL_FILE = 32 * 2**20
"""Largest size in bytes of a JSON file, or of a file that is copied; a tokenizer has a few MB."""

READ_SUFFIXES = (".json", ".safetensors", ".model", ".txt", ".py", ".bin", ".pt")
"""Suffixes of files that loading a policy reads or copies."""

_INDEX_SUFFIX = ".index.json"


def check_own_files(folder: Path, argument: str = "policy.path") -> None:
    """Refuse a policy's folder if a file to be read or copied is not a regular file of the folder itself.

    Raises:
        CheckpointError: a file in ``folder``, or one that an index in it names, leads out of the folder or is
            not a regular file. The message names the first one.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in READ_SUFFIXES and not file.is_dir():
            own_file(folder, file.name, argument)
        if file.name.endswith(_INDEX_SUFFIX):
            _check_index(folder, file.name, argument)


def own_file(folder: Path, name: str, argument: str = "policy.path") -> Path:
    """Path of the file ``name`` of a policy's folder, with links resolved.

    Links may point to other files of the folder, and into the store of the Hugging Face hub's cache, whose
    folders consist of such links.

    Raises:
        CheckpointError: the file is missing, leads out of the folder, or is a pipe or a device.
    """
    file = folder / name
    try:
        target = file.resolve(strict=True)
        regular = stat.S_ISREG(target.stat().st_mode)
    except (OSError, RuntimeError) as error:  # a link in a circle is a RuntimeError before Python 3.13
        raise CheckpointError(f"{argument}: {file} cannot be read: {error}") from error
    if not _belongs_to(target, folder):
        raise CheckpointError(
            f"{argument}: {file} leads out of its folder, to {target}, and is not read: what a checkpoint "
            f"holds is copied into those saved from it. If that file is meant, copy it there"
        )
    if not regular:
        raise CheckpointError(f"{argument}: {file}: expected a regular file, got a pipe, device or folder")
    return target


def own_folder(folder: Path, name: str, argument: str = "policy.path") -> Path:
    """Path of the subfolder ``name`` of a checkpoint, if it is there.

    The checkpoint's own folder may be a link, by which the user has named it. What is in it may not.

    Raises:
        CheckpointError: the subfolder is a link out of ``folder``.
    """
    path = folder / name
    if folder.resolve() not in path.resolve().parents:
        raise CheckpointError(
            f"{argument}: {path} leads out of its folder, to {path.resolve()}, and is not read. If that "
            f"one is meant, name it"
        )
    return path


def read_own_file(
    folder: Path, name: str, argument: str = "policy.path", limit: int = LARGEST_SMALL_FILE
) -> bytes:
    """Read a small file of a policy's folder.

    Raises:
        CheckpointError: the file is not the folder's own (:func:`own_file`), larger than ``limit`` bytes, or
            unreadable.
    """
    target = own_file(folder, name, argument)
    try:
        # the flags cover a link or pipe that has replaced the file since the check
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"{argument}: {folder / name} cannot be read: {error}") from error
    if len(content) > limit:
        raise CheckpointError(
            f"{argument}: {folder / name}: expected at most {limit / 2**20:g} MiB, got "
            f"{target.stat().st_size / 2**20:.0f} MiB; it is not a checkpoint's file"
        )
    return content


def read_own_json(folder: Path, name: str, argument: str = "policy.path") -> dict[str, Any]:
    """Read a JSON object from a file of a policy's folder.

    Raises:
        CheckpointError: the file cannot be read (:func:`read_own_file`) or is not a JSON object.
    """
    text = read_own_file(folder, name, argument)
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{argument}: {folder / name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{argument}: {folder / name}: expected an object, got {type(content).__name__}"
        )
    return content


def unexpected_value(file: Path, key: str, expected: str, got: Any) -> CheckpointError:
    """Make the error for a wrong value in a checkpoint's JSON file; it names the file and the key."""
    return CheckpointError(f"policy.path: {file}: {key}: expected {expected}, got {got!r:.500}")


def _check_index(folder: Path, name: str, argument: str) -> None:
    """Refuse an index that names files outside the folder."""
    named = read_own_json(folder, name, argument).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise CheckpointError(
            f"{argument}: {folder / name} cannot be read: weight_map: expected an object "
            f"that names files, got {named!r:.80}"
        )
    for file in sorted(set(named.values())):
        if Path(file).name != file or file in ("", ".."):
            raise CheckpointError(
                f"{argument}: {folder / name} names {file!r}; expected files of its own folder only"
            )
        if os.path.lexists(folder / file):  # missing files are reported later, all together
            own_file(folder, file, argument)


def _belongs_to(target: Path, folder: Path) -> bool:
    """Whether a resolved path is in ``folder``, or in the hub cache's store for it."""
    folder = folder.resolve()
    if folder in target.parents:
        return True
    stores = [Path(HF_HUB_CACHE).resolve() / target.parent.parent.name / "blobs"]
    if folder.parent.name == "snapshots":  # a copied cache, or one in another place
        stores.append(folder.parents[1] / "blobs")
    return target.parent in stores
