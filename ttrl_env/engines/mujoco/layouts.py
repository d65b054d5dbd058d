"""Offsets of fields in MuJoCo's structures, computed from the description in its Python bindings."""

from __future__ import annotations

import ctypes
from typing import Any, TypeVar

import mujoco
import numpy as np
from mujoco.introspect import ast_nodes, structs

from ttrl_env.engines.mujoco.records import ContactLayout, ModelLayout, PlacementLayout
from ttrl_env.errors import UnsupportedVersionError


def contact_layout() -> ContactLayout:
    """Offsets of the contacts in ``mjData``.

    They are computed from the bindings' description and verified on two balls on a plane. Raises
    :class:`UnsupportedVersionError` if the two disagree.
    """
    model = mujoco.MjModel.from_xml_string(_TWO_BALLS_ON_A_PLANE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    first = data.contact.dist.ctypes.data  # a contact starts with its distance
    structure = _structure("mjData")
    layout = ContactLayout(
        number=structure.ncon.offset,
        pointer=structure.contact.offset,
        stride=data.contact.geom.strides[0],
        geoms=data.contact.geom.ctypes.data - first,
    )
    number = ctypes.c_int.from_address(data._address + layout.number)
    seen = [number.value, ctypes.c_int64.from_address(data._address + layout.pointer).value]
    data.qpos[2] += 1.0
    mujoco.mj_forward(model, data)
    seen.append(number.value)
    if seen != [2, first, 1]:
        raise UnsupportedVersionError(
            f"MuJoCo {mujoco.__version__} has another layout of mjData than its bindings declare "
            f"(contacts {seen}, expected {[2, first, 1]}); use engine='upstream' or another MuJoCo version"
        )
    return layout


def model_layout(model: mujoco.MjModel) -> ModelLayout:
    """Offsets of fields in ``mjModel`` that renderers and quiet models replace.

    They are computed from the bindings' description and verified on ``model``. Raises
    :class:`UnsupportedVersionError` if the two disagree.
    """
    return _model_offsets(model, ModelLayout)


def placement_layout(model: mujoco.MjModel) -> PlacementLayout:
    """Offsets of the fields in ``mjModel`` that say where bodies stand; see :func:`model_layout`."""
    return _model_offsets(model, PlacementLayout)


_LayoutT = TypeVar("_LayoutT", ModelLayout, PlacementLayout)


def _model_offsets(model: mujoco.MjModel, record: type[_LayoutT]) -> _LayoutT:
    structure = _structure("mjModel")
    offsets: dict[str, int] = {name: getattr(structure, name).offset for name in record._fields[2:]}
    differing = []
    for name in (*offsets, "nbody", "qpos0", "signature"):  # the last three check sizes, arrays and the end
        field = getattr(structure, name)
        word = _UNSIGNED[field.size].from_address(model._address + field.offset).value
        value = getattr(model, name)
        if isinstance(value, np.ndarray):  # the bindings hide the address of an empty array
            value = value.ctypes.data if value.size else word
        if word != value:
            differing.append(name)
    if differing:
        raise UnsupportedVersionError(
            f"MuJoCo {mujoco.__version__} has another layout of mjModel than its bindings declare "
            f"({', '.join(differing)}); use engine='upstream' or another MuJoCo version"
        )
    return record(structure_bytes=ctypes.sizeof(structure), size_bytes=structure.nexclude.size, **offsets)


def _structure(name: str) -> Any:
    """One of MuJoCo's structures as a ctypes class."""
    return type(name, (ctypes.Structure,), {"_fields_": _fields(structs.STRUCTS[name])})


_UNSIGNED = {4: ctypes.c_uint32, 8: ctypes.c_uint64}

_C_TYPES = {
    "mjtNum": ctypes.c_double,
    "mjtSize": ctypes.c_uint64,
    "mjtBool": ctypes.c_uint8,
    "int": ctypes.c_int,
    "float": ctypes.c_float,
    "size_t": ctypes.c_size_t,
    "uintptr_t": ctypes.c_void_p,
    "uint64_t": ctypes.c_uint64,
    "uint8_t": ctypes.c_uint8,
}


def _fields(declared: Any) -> list[tuple[str, Any]]:
    return [(field.name, _c_type(field.type)) for field in declared.fields]


def _c_type(declared: Any) -> Any:
    if isinstance(declared, ast_nodes.PointerType):
        return ctypes.c_void_p
    if isinstance(declared, ast_nodes.ArrayType):
        element = _c_type(declared.inner_type)
        for extent in reversed(declared.extents):
            element = element * extent
        return element
    if isinstance(declared, ast_nodes.AnonymousStructDecl):
        return type("anonymous", (ctypes.Structure,), {"_fields_": _fields(declared)})
    if declared.name in _C_TYPES:
        return _C_TYPES[declared.name]
    return _structure(declared.name)


_TWO_BALLS_ON_A_PLANE = """
<mujoco><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body pos="0 0 .09"><freejoint/><geom size=".1"/></body>
  <body pos="0.5 0 .09"><freejoint/><geom size=".1"/></body>
</worldbody></mujoco>
"""
