"""The files of a policy's folder, which a stranger may have made: its own regular files, and no others.

What a folder holds is read, and its small files are written into every checkpoint that is saved from it.
A link to a key of the user's must not get there, and a pipe or a device must not be waited for.
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
"""Bytes of a JSON file or of one that travels with the weights, at most; a tokenizer has a few MB."""

READ_SUFFIXES = (".json", ".safetensors", ".model", ".txt", ".py", ".bin", ".pt")
"""Names of the files that loading a policy reads, or copies."""

_INDEX_SUFFIX = ".index.json"


def check_own_files(folder: Path, argument: str = "policy.path") -> None:
    """Refuse a policy's folder with a file that is read or copied and is not the folder's own.

    Raises:
        CheckpointError: names the first of ``folder``'s files, or of those that its indexes name, that
            leads elsewhere or is no regular file.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in READ_SUFFIXES and not file.is_dir():
            own_file(folder, file.name, argument)
        if file.name.endswith(_INDEX_SUFFIX):
            _check_index(folder, file.name, argument)


def own_file(folder: Path, name: str, argument: str = "policy.path") -> Path:
    """Where the file ``name`` of a policy's folder is, links followed.

    Links may lead to another file of the folder and into the store of the Hugging Face hub's cache,
    whose folders are made of such links.

    Raises:
        CheckpointError: there is no such file, it leads elsewhere, or it is a pipe or a device.
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


def read_own_file(
    folder: Path, name: str, argument: str = "policy.path", limit: int = LARGEST_SMALL_FILE
) -> bytes:
    """The bytes of a small file of a policy's folder.

    Raises:
        CheckpointError: it is not the folder's own (:func:`own_file`), too large, or cannot be read.
    """
    target = own_file(folder, name, argument)
    try:
        # neither a link nor a pipe that took the file's place meanwhile is followed or waited for
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"{argument}: {folder / name} cannot be read: {error}") from error
    if len(content) > limit:
        raise CheckpointError(
            f"{argument}: {folder / name}: expected at most {limit / 2**20:g} MiB, got "
            f"{target.stat().st_size / 2**20:.0f} MiB; it is no file of a checkpoint"
        )
    return content


def read_own_json(folder: Path, name: str, argument: str = "policy.path") -> dict[str, Any]:
    """The object in a JSON file of a policy's folder.

    Raises:
        CheckpointError: it cannot be read (:func:`read_own_file`) or holds no JSON object.
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
    """An error that names a key of a checkpoint's JSON file, what was expected of it and what it holds."""
    return CheckpointError(f"policy.path: {file}: {key}: expected {expected}, got {got!r:.200}")


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
        if os.path.lexists(folder / file):  # an absent one is told of with all the others that are
            own_file(folder, file, argument)


def _belongs_to(target: Path, folder: Path) -> bool:
    """Whether a file, its links followed, is in ``folder`` or is what the hub's cache keeps for it."""
    folder = folder.resolve()
    if folder in target.parents:
        return True
    stores = [Path(HF_HUB_CACHE).resolve() / target.parent.parent.name / "blobs"]
    if folder.parent.name == "snapshots":  # a cache that was copied, or is another one than the user's
        stores.append(folder.parents[1] / "blobs")
    return target.parent in stores
