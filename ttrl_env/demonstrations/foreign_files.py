"""Safe reading of HDF5 files from untrusted sources.

HDF5 lets a file refer to other files (soft and external links, raw storage, virtual datasets). It also lets
a file declare arrays of any size. The functions here read only data stored in the file itself. For anything
else they raise :class:`ConfigError`, which names the file and the group or array, and says what to do.
"""

from __future__ import annotations

import math
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from ttrl_env.errors import ConfigError

_LFS_POINTER = b"version https://git-lfs"

_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF)
"""Compression and checksums that every h5py can undo."""

_DEFLATE_RATIO = 1032
"""Largest compression ratio of gzip: one byte unpacks to at most this many."""

_HARMLESS = 2**30
"""Chunks that cannot unpack to more bytes than this are read without a check."""

_CHECKSUM = 4
"""Bytes that the Fletcher-32 checksum adds to a chunk."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    It takes no lock: writers replace whole files, and some file systems do not support locks.
    """
    _check_kind(path)
    with _naming(path, "the file"):
        file = h5py.File(path, "r", locking=False)
    with file:
        yield file


def names(group: h5py.Group) -> list[str]:
    """Names of a group's members."""
    with _naming_part(group):
        return [name if isinstance(name, str) else name.decode("utf-8", "replace") for name in group]


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """A subgroup of a group."""
    return _member(parent, name, h5py.Group, "a group")


def dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """A numeric array of a group, stored entirely in the file; :func:`read` reads its values."""
    found = _member(parent, name, h5py.Dataset, "an array")
    with _naming_part(found):
        if found.dtype.kind not in "biuf":
            raise refuse(found, f"expected numbers, got {found.dtype}")
        _check_storage(found)
    return found


def read(array: h5py.Dataset) -> NDArray[Any]:
    """Read the values of an array."""
    with _naming_part(array):
        _check_packing(array)
        return array[()]


def read_all(part: h5py.Group) -> None:
    """Read every array of a group and its subgroups, to verify that all of it is readable."""
    for name in names(part):
        if isinstance(_member(part, name, (h5py.Group, h5py.Dataset), "a group or an array"), h5py.Group):
            read_all(group(part, name))
        else:
            read(dataset(part, name))


def num_bytes(array: h5py.Dataset) -> int:
    """Memory in bytes that reading an array takes: its values and one unpacked chunk."""
    chunk = math.prod(array.chunks) if array.chunks else 0
    return (math.prod(array.shape) + chunk) * int(array.dtype.itemsize)


def has_attributes(part: h5py.Group) -> bool:
    """Whether a group has any attribute."""
    with _naming_part(part):
        return len(part.attrs) > 0


def text(part: h5py.Group, attribute: str) -> str | None:
    """Value of a text attribute; ``None`` if there is no attribute of that name."""
    with _naming_part(part, attribute):
        if attribute not in part.attrs:
            return None
        kind = part.attrs.get_id(attribute)
        if h5py.check_string_dtype(kind.dtype) is None or kind.shape != ():
            raise refuse_attribute(part, attribute, "expected text", kind.dtype)
        value = part.attrs[attribute]
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def whole_number(part: h5py.Group, attribute: str) -> int | None:
    """Value of a non-negative integer attribute; ``None`` if there is no attribute of that name."""
    with _naming_part(part, attribute):
        if attribute not in part.attrs:
            return None
        kind = part.attrs.get_id(attribute)
        value = part.attrs[attribute] if kind.dtype.kind in "iu" and kind.shape == () else None
        if value is None or value < 0:
            raise refuse_attribute(
                part, attribute, "expected an integer from 0 on", kind.dtype if value is None else value
            )
        return int(value)


class Refusal(ConfigError):
    """The error for a file of demonstrations whose content is not as expected."""


def refuse(part: h5py.HLObject, problem: str) -> Refusal:
    """Make the error for a group or array: it names the file, the place in it and the problem."""
    return Refusal(f"{part.file.filename}: {_place(part)}: {problem}")


def refuse_attribute(part: h5py.Group, attribute: str, expected: str, got: object) -> Refusal:
    """Make the error for an attribute: it names the file, the attribute, what was expected and what came."""
    return refuse(part, f"attribute {attribute!r}: {expected}, got {got}")


@contextmanager
def _naming(path: object, what: str) -> Iterator[None]:
    """Turn h5py's errors about a damaged file into a :class:`ConfigError` that names the file."""
    try:
        yield
    except Refusal:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, zlib.error) as error:
        reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{path}: {what} cannot be read: {reason}. The file is damaged or incomplete; copy it again"
        ) from error


def _naming_part(part: h5py.HLObject, attribute: str | None = None) -> Any:
    what = _place(part) if attribute is None else f"attribute {attribute!r} of {_place(part)}"
    return _naming(part.file.filename, what)


def _place(part: h5py.HLObject) -> str:
    return str(part.name).strip("/") or "the file"


def _check_kind(path: Path) -> None:
    """Raise unless a path is an HDF5 file. A missing or unreadable file raises the system's ``OSError``."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{path}: expected an HDF5 file, got a {'folder' if path.is_dir() else 'device'}")
    with path.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        raise ConfigError(
            f"{path}: this is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
        )
    if not h5py.is_hdf5(path):
        problem = "it is empty" if not start else f"it begins with {start[:8]!r}"
        raise ConfigError(f"{path}: expected an HDF5 file, and {problem}; copy or make it again")


def _member(parent: h5py.Group, name: str, kind: type | tuple[type, ...], kind_name: str) -> Any:
    with _naming_part(parent):
        link = parent.get(name, getlink=True)
        if link is None:
            raise refuse(parent, f"it has no {name!r}, got {', '.join(names(parent)) or 'nothing'}")
        if not isinstance(link, h5py.HardLink):
            raise refuse(
                parent, f"{name!r} is a link to {_target(link)}; only what lies in the file itself is read"
            )
        found = parent[name]
        if not isinstance(found, kind):
            raise refuse(parent, f"expected {name!r} to be {kind_name}, got {type(found).__name__.lower()}")
        return found


def _target(link: h5py.SoftLink | h5py.ExternalLink) -> str:
    outside = f"{link.filename}:" if isinstance(link, h5py.ExternalLink) else ""
    return f"{outside}{link.path}"


def _check_packing(array: h5py.Dataset) -> None:
    """Raise if a compressed chunk unpacks to more bytes than its values take: HDF5 would unpack them all."""
    if array.compression != "gzip":
        return
    size = math.prod(array.chunks) * array.dtype.itemsize + _CHECKSUM
    for index in range(array.id.get_num_chunks()):
        chunk = array.id.get_chunk_info(index)
        if chunk.filter_mask == 0 and chunk.size * _DEFLATE_RATIO > _HARMLESS:
            _, packed = array.id.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, size + 1)) > size:
                raise refuse(
                    array, f"a packed chunk of {chunk.size} bytes holds more than its {size} bytes of numbers"
                )


def _check_storage(array: h5py.Dataset) -> None:
    """Raise unless every value of an array is stored in the file itself."""
    if array.is_virtual:
        raise refuse(array, "it is a virtual dataset, put together of other files; only the file is read")
    if array.external:
        raise refuse(array, f"its numbers are in another file, {array.external[0][0]}; only the file is read")
    properties = array.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        code, _, _, filter_name = properties.get_filter(index)
        if code not in _FILTERS:
            raise refuse(
                array, f"it is packed with filter {code} ({filter_name.decode()}); write it with gzip or none"
            )
    claimed, stored = math.prod(array.shape) * array.dtype.itemsize, array.id.get_storage_size()
    if stored > Path(array.file.filename).stat().st_size:
        raise refuse(array, f"it claims {claimed / 1e9:.3g} GB, more than the file has")
    if array.chunks is None:
        missing = stored < claimed
    else:
        chunks = math.prod(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True))
        missing = array.id.get_num_chunks() < chunks
    if missing:
        raise refuse(
            array,
            f"it claims {claimed / 1e9:.3g} GB, and parts of it were never written ({stored} bytes were)",
        )
