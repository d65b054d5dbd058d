"""Shallow copies of ``mjModel``: MuJoCo's structure with a few of its fields replaced.

The structure holds sizes and addresses of arrays. A copy with some sizes and addresses replaced takes a few
kilobytes, because it shares all other arrays with the original. MuJoCo's C functions accept it as a model.
"""

from __future__ import annotations

import ctypes
from typing import Any

import mujoco
import numpy as np

from ttrl_env.engines.mujoco.records import ModelLayout, PlacementLayout


class ShallowCopy:
    """A model that shares all fields with another, except for those replaced."""

    def __init__(self, model: mujoco.MjModel, layout: ModelLayout | PlacementLayout, **fields: Any) -> None:
        """Copy the structure of a model; its options are copied as they are now.

        Args:
            model: the original; it must stay alive as long as the copy.
            layout: offsets of the fields.
            fields: the new value of each replaced field: an integer for a size, an array or sequence for an
                array. An array that needs no conversion is not copied.
        """
        self._structure = ctypes.create_string_buffer(
            ctypes.string_at(model._address, layout.structure_bytes), layout.structure_bytes
        )
        self._arrays = {}
        self.address = ctypes.addressof(self._structure)
        """Address of the ``mjModel``, valid as long as this object exists."""
        self._as_parameter_ = ctypes.c_void_p(self.address)  # lets ctypes pass the object to C functions
        for name, value in fields.items():
            field = self.address + getattr(layout, name)
            if isinstance(value, int):
                wide = name == "nbuffer" or layout.size_bytes == 8
                (ctypes.c_int64 if wide else ctypes.c_int32).from_address(field).value = value
            else:
                array = np.ascontiguousarray(value, dtype=getattr(model, name).dtype)
                ctypes.c_void_p.from_address(field).value = array.ctypes.data
                self._arrays[name] = array  # keeps the array alive: the structure holds only its address
