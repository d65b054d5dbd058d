"""How a bundle is kept on disk, so that a damaged one is never trusted.

Three files in a folder of its own: ``bundle.npz`` (arrays and names, behind a line with their SHA-256),
the model in MuJoCo's binary form and the pixels of its textures, whose lengths and CRC-32 the first
file knows. All are written beside and renamed into place, the archive last, so that processes compiling
the same task at the same time cannot disturb each other. All are verified before anything is read from
them; one that is truncated, altered, of another version or of another folder counts as missing.

Model and textures are mapped where nobody can truncate them meanwhile, else copied; see
:mod:`ttrl_env.machine.leased_files`.

A CRC rather than a cryptographic digest: a quarter of a gigabyte is read each time a task is opened,
and the danger is a full disk or a killed copy, not somebody who can write to the user's cache.
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

import mujoco  # type: ignore[import-untyped]
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
"""How the names of files begin that are not whole yet."""

_OWN_NAME = "archive"

_MODEL, _TEXTURES = "model.mjb", "textures.rgb"
"""The files besides the archive; their lengths and checksums are part of their names."""


def read_bundle(place: Path) -> TaskBundle | None:
    """The bundle in a folder, or ``None`` unless all files are there and whole."""
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
    """Put a bundle into a folder, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    large = {
        _MODEL: mujoco_c.save_model(bundle.model._address).data,
        _TEXTURES: bundle.textures.pixels.data,
    }
    values: dict[str, NDArray] = {
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
    with contextlib.ExitStack() as files:  # what is entered first is left last: the archive
        files.enter_context(_replacing(place / ARCHIVE)).write(_packed(place / ARCHIVE, values))
        for kind, content in large.items():
            path = _stored(place, kind, *values[kind].tolist()).path
            files.enter_context(_replacing(path)).write(content)


def read_archive(path: Path) -> dict[str, NDArray] | None:
    """The arrays that :func:`write_archive` put into a file, or ``None`` unless it is there and whole.

    A file that cannot be read counts as missing too: it is made again, and putting that in its place tells
    what is wrong.
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


def write_archive(path: Path, values: dict[str, NDArray]) -> None:
    """Put arrays into a file, whole or not at all."""
    with _replacing(path) as file:
        file.write(_packed(path, values))


@contextlib.contextmanager
def keeping(place: Path) -> Iterator[None]:
    """What is written to the cache here may fail for want of space or permission: that is said, once."""
    try:
        yield
    except OSError as error:
        if NOWHERE not in place.parents:  # else it has been said
            warn_once(
                f"The cache {place.parent} cannot be written to ({error.strerror or error}); "
                f"make room, or set TTRL_CACHE to a folder that you may write to"
            )


def remove_abandoned(place: Path) -> None:
    """Delete what processes that were killed while they wrote have left in a folder."""
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
    except OSError:  # locked, gone already, somebody else's, or on a file system without locks
        return False
    return True


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path`` when the context ends well; locked while it is written."""
    scratch = path.with_name(f"{_WRITING}{os.getpid()}-{secrets.token_hex(4)}")
    with scratch.open("xb") as file, replacing(path, scratch, durable=False):
        with contextlib.suppress(OSError):  # a file system without locks: what is abandoned stays
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
        file.flush()  # tells of a full disk


def _packed(path: Path, values: dict[str, NDArray]) -> bytes:
    """The content of an archive at ``path``."""
    packed = io.BytesIO()
    np.savez(packed, **{_OWN_NAME: np.array(_own_name(path))}, **values)  # type: ignore[arg-type]
    return hashlib.sha256(packed.getvalue()).hexdigest().encode() + b"\n" + packed.getvalue()


def _own_name(path: Path) -> str:
    """What an archive calls itself: a copy of it elsewhere is no other task's, whatever folder it is in."""
    return f"{path.parent.name}/{path.name}"


def _stored(place: Path, kind: str, length: int, checksum: int) -> StoredBytes:
    return StoredBytes(place / _checked_name(kind, length, checksum), length, checksum)


def _checked_name(kind: str, length: int, checksum: int) -> str:
    stem, suffix = kind.split(".")
    return f"{stem}-{length}-{checksum:08x}.{suffix}"


def _pack(record: Any, values: dict[str, NDArray], prefix: str) -> None:
    """Add a named tuple's fields, nested ones too, as ``prefix.field``."""
    for name, value in record._asdict().items():
        if hasattr(value, "_asdict"):
            _pack(value, values, f"{prefix}.{name}")
        else:
            values[f"{prefix}.{name}"] = np.asarray(value)


def _unpack(record: type, values: dict[str, NDArray], prefix: str) -> Any:
    """The inverse of :func:`_pack`. Scalars come back as Python's."""
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
