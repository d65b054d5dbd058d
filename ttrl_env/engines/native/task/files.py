"""Reads and writes bundles on disk; a damaged bundle is detected and never used.

Each bundle has a folder with three files. ``bundle.npz`` holds arrays and names, after a line with their
SHA-256. The others are the model in MuJoCo's binary form and the pixels of its textures; the archive holds
their lengths and CRC-32.

Each file is written under a temporary name and then renamed, the archive last. So processes that compile the
same task at the same time do not disturb each other. Every file is verified before use. A file that is
truncated, altered, or of another version or folder counts as missing.

Model and textures are memory-mapped if no process can truncate them meanwhile, else copied; see
:mod:`ttrl_env.machine.leased_files`.

The large files have a CRC and not a cryptographic digest, because opening a task reads a quarter of a
gigabyte. It protects against full disks and interrupted copies, not against attackers with write access.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco import mujoco_c
from ttrl_env.engines.mujoco.records import ContactLayout, ModelLayout
from ttrl_env.engines.native.records import (
    ArmConstants,
    ArmState,
    Burners,
    Goal,
    QuietPairs,
    SampleConstants,
    TaskArrays,
    TextureLayout,
)
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.locations import ARCHIVE, NOWHERE, warn_once
from ttrl_env.engines.native.task.textures import StoredBytes, Textures
from ttrl_env.machine.whole_files import replacing

_WRITING = "writing-"
"""Prefix of the names of files that are still being written."""

_OWN_NAME = "archive"

_MODEL, _TEXTURES = "model.mjb", "textures.rgb"
"""The files besides the archive; their lengths and checksums are part of their names."""


def read_bundle(place: Path) -> TaskBundle | None:
    """The bundle in a folder, or ``None`` if a file is missing or damaged."""
    values = read_archive(place / ARCHIVE)
    if values is None or str(values.get("mujoco_version")) != mujoco.__version__:
        return None
    stored = {kind: _stored(place, kind, *values[kind].tolist()) for kind in (_MODEL, _TEXTURES)}
    model, pixels = stored[_MODEL].read(), stored[_TEXTURES].read()
    if model is None or pixels is None:
        return None
    layout = _unpack(TextureLayout, values, "texture_layout")
    return TaskBundle(
        mujoco_version=mujoco.__version__,
        model=mujoco_c.load_model(model),
        model_layout=_unpack(ModelLayout, values, "model_layout"),
        textures=Textures(layout=layout, pixels=pixels, file=stored[_TEXTURES]),
        arrays=_unpack(TaskArrays, values, "arrays"),
        arm_at_reset=_unpack(ArmState, values, "arm_at_reset"),
        burner_alpha=values["burner_alpha"],
        state_at_reset=values["state_at_reset"],
        place=place,
    )


def write_bundle(place: Path, bundle: TaskBundle) -> None:
    """Write a bundle into a folder atomically."""
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    large = {
        _MODEL: mujoco_c.save_model(bundle.model._address).data,
        _TEXTURES: bundle.textures.pixels.data,
    }
    values: dict[str, NDArray[Any]] = {
        "mujoco_version": np.array(bundle.mujoco_version),
        "burner_alpha": bundle.burner_alpha,
        "state_at_reset": bundle.state_at_reset,
    }
    _pack(bundle.arrays, values, "arrays")
    _pack(bundle.arm_at_reset, values, "arm_at_reset")
    _pack(bundle.model_layout, values, "model_layout")
    _pack(bundle.textures.layout, values, "texture_layout")
    for kind, content in large.items():
        values[kind] = np.array([len(content), zlib.crc32(content)], dtype=np.int64)
    with contextlib.ExitStack() as files:  # contexts end in reverse order: the archive last
        files.enter_context(_replacing(place / ARCHIVE)).write(_packed(place / ARCHIVE, values))
        for kind, content in large.items():
            path = _stored(place, kind, *values[kind].tolist()).path
            files.enter_context(_replacing(path)).write(content)


def write_files(place: Path, files: dict[str, NDArray[np.uint8]]) -> None:
    """Write the files of a bundle from another cache (:func:`locations.bundle_files`), the archive last.

    They are verified when they are read, like all others.
    """
    place.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=ARCHIVE.__eq__):
        with _replacing(place / name) as file:
            file.write(files[name].data)


def read_archive(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays that :func:`write_archive` wrote to a file, or ``None`` if it is missing or damaged.

    A file that cannot be read counts as missing too. The caller writes it anew, and that reports the error.
    """
    try:
        digest, _, packed = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(packed).hexdigest().encode() != digest:
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        values = dict(archive)
    return values if str(values.pop(_OWN_NAME, None)) == _own_name(path) else None


def write_archive(path: Path, values: dict[str, NDArray[Any]]) -> None:
    """Write arrays to a file atomically."""
    with _replacing(path) as file:
        file.write(_packed(path, values))


@contextlib.contextmanager
def keeping(place: Path) -> Iterator[None]:
    """Context for writing to the cache: an ``OSError``, such as a full disk, becomes a warning."""
    try:
        yield
    except OSError as error:
        if NOWHERE not in place.parents:  # there a warning has been given already
            warn_once(
                f"The cache {place.parent} cannot be written to ({error.strerror or error}); "
                f"make room, or set TTRL_CACHE to a folder that you may write to"
            )


def remove_abandoned(place: Path) -> None:
    """Delete the unfinished files in a folder whose writing processes were killed."""
    for path in place.glob(f"{_WRITING}*"):
        if path.is_dir():  # older versions wrote in folders
            shutil.rmtree(path)
        elif _is_abandoned(path):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    """Whether the process that wrote a file has ended."""
    try:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked, deleted, another user's, or on a file system without locks
        return False
    return True


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A locked temporary file that replaces ``path`` when the context ends without an error."""
    scratch = path.with_name(f"{_WRITING}{os.getpid()}-{secrets.token_hex(4)}")
    with scratch.open("xb") as file, replacing(path, scratch, durable=False):
        with contextlib.suppress(OSError):  # no locks on this file system: abandoned files stay
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
        file.flush()  # raises if the disk is full


def _packed(path: Path, values: dict[str, NDArray[Any]]) -> bytes:
    """The bytes to write to ``path``: a line with the SHA-256, and the archive."""
    packed = io.BytesIO()
    np.savez(packed, **{_OWN_NAME: np.array(_own_name(path))}, **values)  # type: ignore[arg-type]
    return hashlib.sha256(packed.getvalue()).hexdigest().encode() + b"\n" + packed.getvalue()


def _own_name(path: Path) -> str:
    """The name stored inside an archive. It tells that a file was copied from another task's folder."""
    return f"{path.parent.name}/{path.name}"


def _stored(place: Path, kind: str, length: int, checksum: int) -> StoredBytes:
    return StoredBytes(place / _checked_name(kind, length, checksum), length, checksum)


def _checked_name(kind: str, length: int, checksum: int) -> str:
    stem, suffix = kind.split(".")
    return f"{stem}-{length}-{checksum:08x}.{suffix}"


def _pack(record: Any, values: dict[str, NDArray[Any]], prefix: str) -> None:
    """Add a named tuple's fields, nested ones too, as ``prefix.field``."""
    for name, value in record._asdict().items():
        if hasattr(value, "_asdict"):
            _pack(value, values, f"{prefix}.{name}")
        else:
            values[f"{prefix}.{name}"] = np.asarray(value)


def _unpack(record: type, values: dict[str, NDArray[Any]], prefix: str) -> Any:
    """The inverse of :func:`_pack`. Scalars are returned as Python numbers."""
    fields = {}
    for name in record._fields:  # type: ignore[attr-defined]
        key = f"{prefix}.{name}"
        if record is TaskArrays:
            fields[name] = _unpack(_TASK_ARRAYS[name], values, key)
        else:
            fields[name] = values[key] if values[key].ndim else values[key].item()
    return record(**fields)


_TASK_ARRAYS = {
    "arm": ArmConstants,
    "sample": SampleConstants,
    "goal": Goal,
    "burners": Burners,
    "contacts": ContactLayout,
    "quiet": QuietPairs,
}
