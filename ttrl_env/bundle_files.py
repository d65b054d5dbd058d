"""How a bundle is kept on disk, so that a damaged one is never trusted.

Two files in a folder of its own: ``bundle.npz`` (arrays and names, behind a line with their SHA-256)
and the model in MuJoCo's binary form, whose length and CRC-32 the first file knows. Both are written
beside and renamed into place, the model first, so that processes compiling the same task at the same
time cannot disturb each other. Both are verified before anything is read from them; one that is
truncated, altered or of another version counts as missing.

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
    QuietPairs,
    SampleConstants,
    TaskArrays,
)


def read_bundle(place: Path) -> TaskBundle | None:
    """The bundle in a folder, or ``None`` unless both files are there and whole."""
    values = read_archive(place / "bundle.npz")
    model = None if values is None else _read_model(place, *values.pop("model").tolist())
    if values is None or model is None:
        return None
    return TaskBundle(
        model=model,
        arrays=_unpack(TaskArrays, values, "arrays"),
        arm_at_reset=_unpack(ArmState, values, "arm_at_reset"),
        burner_alpha=values["burner_alpha"],
        state_at_reset=values["state_at_reset"],
    )


def write_bundle(place: Path, bundle: TaskBundle) -> None:
    """Put a bundle into a folder, whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="writing-") as scratch:
        model = Path(scratch) / "model.mjb"
        mujoco.mj_saveModel(bundle.model, str(model))
        length, checksum = model.stat().st_size, _checksum(model)
        model.replace(place / _model_name(length, checksum))
    values: dict[str, NDArray] = {
        "model": np.array([length, checksum], dtype=np.int64),
        "burner_alpha": bundle.burner_alpha,
        "state_at_reset": bundle.state_at_reset,
    }
    _pack(bundle.arrays, values, "arrays")
    _pack(bundle.arm_at_reset, values, "arm_at_reset")
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


def _read_model(place: Path, length: int, checksum: int) -> mujoco.MjModel | None:
    """The model, checked and copied straight from the file's pages, without Python's lock."""
    path = place / _model_name(length, checksum)
    if not path.exists() or path.stat().st_size != length:
        return None
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
    with path.open("rb") as file, mmap.mmap(file.fileno(), length, flags=flags) as content:
        if zlib.crc32(content) != checksum:
            return None
        return mujoco_c.load_model(content)


def _checksum(path: Path) -> int:
    """CRC-32 of a file, read in pieces: models take hundreds of megabytes."""
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _model_name(length: int, checksum: int) -> str:
    return f"model-{length}-{checksum:08x}.mjb"


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
