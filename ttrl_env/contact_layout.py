"""Where ``mjData`` keeps its contacts: they have no Python view that stays valid."""

from __future__ import annotations

import ctypes
from typing import Any

import mujoco  # type: ignore[import-untyped]
from mujoco.introspect import ast_nodes, structs  # type: ignore[import-untyped]

from ttrl_env.records import ContactLayout


def contact_layout() -> ContactLayout:
    """Read off the bindings' own description of ``mjData``, and checked on two balls on a plane."""
    model = mujoco.MjModel.from_xml_string(_TWO_BALLS_ON_A_PLANE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    first = data.contact.dist.ctypes.data  # a contact starts with its distance
    structure = _mj_data()
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
        raise RuntimeError(
            f"MuJoCo {mujoco.__version__} lays out mjData otherwise than its bindings declare "
            f"(contacts {seen}, expected {[2, first, 1]}); use engine='upstream' or another MuJoCo version"
        )
    return layout


def _mj_data() -> Any:
    """``mjData`` as a ctypes structure."""
    return type("mjData", (ctypes.Structure,), {"_fields_": _fields("mjData")})


_C_TYPES = {
    "mjtNum": ctypes.c_double,
    "mjtSize": ctypes.c_uint64,
    "mjtBool": ctypes.c_uint8,
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "uintptr_t": ctypes.c_void_p,
    "uint64_t": ctypes.c_uint64,
    "uint8_t": ctypes.c_uint8,
}


def _fields(struct: str) -> list[tuple[str, Any]]:
    return [(field.name, _c_type(field.type)) for field in structs.STRUCTS[struct].fields]


def _c_type(declared: Any) -> Any:
    if isinstance(declared, ast_nodes.PointerType):
        return ctypes.c_void_p
    if isinstance(declared, ast_nodes.ArrayType):
        element = _c_type(declared.inner_type)
        for extent in reversed(declared.extents):
            element = element * extent
        return element
    if declared.name in _C_TYPES:
        return _C_TYPES[declared.name]
    return type(declared.name, (ctypes.Structure,), {"_fields_": _fields(declared.name)})


_TWO_BALLS_ON_A_PLANE = """
<mujoco><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body pos="0 0 .09"><freejoint/><geom size=".1"/></body>
  <body pos="0.5 0 .09"><freejoint/><geom size=".1"/></body>
</worldbody></mujoco>
"""
