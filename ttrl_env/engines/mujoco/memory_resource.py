"""Gives bytes in memory a name that MuJoCo can open, for versions that load models by name only.

MuJoCo's virtual file system would also work, but it copies and hashes the bytes, which takes a third of a
second for a task. The resource provider registered here returns their address instead.
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
    """A name under which MuJoCo's C functions can open ``content``, valid until the context ends."""
    _register(library)
    yield f"{_PREFIX}:{content.ctypes.data}-{len(content)}".encode()


class _Resource(ctypes.Structure):
    """The first field of ``mjResource``."""

    _fields_ = (("name", ctypes.c_char_p),)


_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Resource))
_Read = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Resource), ctypes.POINTER(ctypes.c_void_p))
_Close = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Resource))


class _Provider(ctypes.Structure):
    """``mjpResourceProvider`` of MuJoCo 3.3.2; ``rest`` covers optional callbacks and data."""

    _fields_ = (
        ("prefix", ctypes.c_char_p),
        ("open", _Open),
        ("read", _Read),
        ("close", _Close),
        ("rest", ctypes.c_void_p * 3),
    )


def _read(resource: Any, buffer: Any) -> int:
    """Point ``buffer`` at the bytes whose address is in the resource's name; returns their number."""
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
