"""How a bundle is kept on disk, so that a damaged one is never trusted.

Three files in a folder of its own: ``bundle.npz`` (arrays and names, behind a line with their SHA-256),
the model in MuJoCo's binary form and the pixels of its textures, whose lengths and CRC-32 the first
file knows. All are written beside and renamed into place, the archive last, so that processes compiling
the same task at the same time cannot disturb each other. All are verified before anything is read from
them; one that is truncated, altered or of another version counts as missing.

A CRC rather than a cryptographic digest: a quarter of a gigabyte is read each time a task is opened,
and the danger is a full disk or a killed copy, not somebody who can write to the user's cache.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import tempfile
import zlib
from pathlib import Path
from typing import Any

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env import mujoco_c
from ttrl_env.bundle import TaskBundle
from ttrl_env.records import (
    ArmConstants,
    ArmState,
    Burners,
    ContactLayout,
    Goal,
    ModelLayout,
    QuietPairs,
    SampleConstants,
    TaskArrays,
    TextureLayout,
)
from ttrl_env.textures import Textures

_MODEL, _TEXTURES = "model.mjb", "textures.rgb"
"""The files besides the archive; their lengths and checksums are part of their names."""


def read_bundle(place: Path) -> TaskBundle | None:
    """The bundle in a folder, or ``None`` unless all files are there and whole."""
    values = read_archive(place / "bundle.npz")
    if values is None or str(values.get("mujoco_version")) != mujoco.__version__:
        return None
    model, textures = (_map_checked(place, kind, *values[kind].tolist()) for kind in (_MODEL, _TEXTURES))
    if model is None or textures is None:
        return None
    layout = _unpack(TextureLayout, values, "texture_layout")
    pixels = np.frombuffer(textures, dtype=np.uint8)
    return TaskBundle(
        mujoco_version=mujoco.__version__,
        model=mujoco_c.load_model(model),
        model_layout=_unpack(ModelLayout, values, "model_layout"),
        textures=Textures(layout=layout, pixels=pixels, pages=textures),
        arrays=_unpack(TaskArrays, values, "arrays"),
        arm_at_reset=_unpack(ArmState, values, "arm_at_reset"),
        burner_alpha=values["burner_alpha"],
        state_at_reset=values["state_at_reset"],
    )


def write_bundle(place: Path, bundle: TaskBundle) -> None:
    """Put a bundle into a folder, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    values: dict[str, NDArray] = {
        _MODEL: _write_checked(place, _MODEL, mujoco_c.save_model(bundle.model._address).data),
        _TEXTURES: _write_checked(place, _TEXTURES, bundle.textures.pixels.data),
        "mujoco_version": np.array(bundle.mujoco_version),
        "burner_alpha": bundle.burner_alpha,
        "state_at_reset": bundle.state_at_reset,
    }
    _pack(bundle.arrays, values, "arrays")
    _pack(bundle.arm_at_reset, values, "arm_at_reset")
    _pack(bundle.model_layout, values, "model_layout")
    _pack(bundle.textures.layout, values, "texture_layout")
    write_archive(place / "bundle.npz", values)


def read_archive(path: Path) -> dict[str, NDArray] | None:
    """The arrays that :func:`write_archive` put into a file, or ``None`` unless it is there and whole."""
    try:
        digest, _, packed = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(packed).hexdigest().encode() != digest:
        return None
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        return dict(archive)


def write_archive(path: Path, values: dict[str, NDArray]) -> None:
    """Put arrays into a file, whole or not at all."""
    packed = io.BytesIO()
    np.savez(packed, **values)  # type: ignore[arg-type]
    digest = hashlib.sha256(packed.getvalue()).hexdigest().encode()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="writing-") as scratch:
        file = Path(scratch) / path.name
        file.write_bytes(digest + b"\n" + packed.getvalue())
        file.replace(path)


def _map_checked(place: Path, kind: str, length: int, checksum: int) -> mmap.mmap | None:
    """A file's pages, not copied, or ``None`` unless it is there and whole.

    Read-only, because of a writable mapping each page would be copied when it is mapped in advance.
    """
    path = place / _checked_name(kind, length, checksum)
    if not path.exists() or path.stat().st_size != length:
        return None
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), length, flags=flags, prot=mmap.PROT_READ)
    return pages if zlib.crc32(pages) == checksum else None


def _write_checked(place: Path, kind: str, content: memoryview) -> NDArray[np.int64]:
    """Write a file that :func:`_map_checked` reads; returns its length and checksum."""
    length, checksum = len(content), zlib.crc32(content)
    with tempfile.TemporaryDirectory(dir=place, prefix="writing-") as scratch:
        file = Path(scratch) / kind
        file.write_bytes(content)
        file.replace(place / _checked_name(kind, length, checksum))
    return np.array([length, checksum], dtype=np.int64)


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
