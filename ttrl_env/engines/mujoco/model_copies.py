"""Shallow copies of ``mjModel``: MuJoCo's structure with a few of its fields replaced.

The structure holds sizes and addresses of arrays. A copy of it that has other sizes and other addresses
costs a few kilobytes, however large the arrays that the two share, and MuJoCo's C functions take it for
a model like any other.
"""

from __future__ import annotations

import ctypes
from typing import Any

import mujoco  # type: ignore[import-untyped]
import numpy as np

from ttrl_env.engines.mujoco.records import ModelLayout


class ShallowCopy:
    """A model that shares everything with another but the fields replaced."""

    def __init__(self, model: mujoco.MjModel, layout: ModelLayout, **fields: Any) -> None:
        """``model`` must stay alive, and is copied with its options as they are now.

        Args:
            model: the original.
            layout: where the fields are.
            fields: what replaces each: integers for sizes; for arrays, what converts to them. An array
                that needs no conversion is not copied.
        """
        self._structure = ctypes.create_string_buffer(
            ctypes.string_at(model._address, layout.structure_bytes), layout.structure_bytes
        )
        self._arrays = {}
        self.address = ctypes.addressof(self._structure)
        """Address of the ``mjModel``; lives as long as this object."""
        self._as_parameter_ = ctypes.c_void_p(self.address)  # so that C functions take the object itself
        for name, value in fields.items():
            field = self.address + getattr(layout, name)
            if isinstance(value, int):
                wide = name == "nbuffer" or layout.size_bytes == 8
                (ctypes.c_int64 if wide else ctypes.c_int32).from_address(field).value = value
            else:
                array = np.ascontiguousarray(value, dtype=getattr(model, name).dtype)
                ctypes.c_void_p.from_address(field).value = array.ctypes.data
                self._arrays[name] = array  # the structure holds no more than its address
