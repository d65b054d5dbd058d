"""Bytes in memory under a name that MuJoCo can open, for versions that load models from names alone.

MuJoCo's virtual file system would do it too, but copies the bytes and computes a digest of them: a third of
a second for a task. A resource provider hands out their address.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.errors import UnsupportedVersionError

_PREFIX = "ttrlmemory"


@contextlib.contextmanager
def resource_name(library: Any, content: NDArray[np.uint8]) -> Iterator[bytes]:
    """A name by which MuJoCo's C functions open ``content``, valid until the context ends."""
    _register(library)
    yield f"{_PREFIX}:{content.ctypes.data}-{len(content)}".encode()


class _Resource(ctypes.Structure):
    """The beginning of ``mjResource``."""

    _fields_ = (("name", ctypes.c_char_p),)


_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Resource))
_Read = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Resource), ctypes.POINTER(ctypes.c_void_p))
_Close = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Resource))


class _Provider(ctypes.Structure):
    """``mjpResourceProvider`` of MuJoCo 3.3.2; the rest are optional callbacks and data."""

    _fields_ = (
        ("prefix", ctypes.c_char_p),
        ("open", _Open),
        ("read", _Read),
        ("close", _Close),
        ("rest", ctypes.c_void_p * 3),
    )


def _read(resource: Any, buffer: Any) -> int:
    """Point ``buffer`` at the bytes that the resource's name tells of; returns how many they are."""
    address, length = resource.contents.name.decode().rpartition(":")[2].split("-")
    buffer[0] = int(address)
    return int(length)


_PROVIDER = _Provider(
    prefix=_PREFIX.encode(),
    open=_Open(lambda resource: 1),
    read=_Read(_read),
    close=_Close(lambda resource: None),
)


@functools.cache
def _register(library: Any) -> None:
    library.mjp_registerResourceProvider.argtypes = (ctypes.c_void_p,)
    if library.mjp_registerResourceProvider(ctypes.byref(_PROVIDER)) < 1:
        raise UnsupportedVersionError(
            f"MuJoCo did not register the resource provider {_PREFIX!r}; use engine='upstream' or another "
            f"MuJoCo version"
        )
