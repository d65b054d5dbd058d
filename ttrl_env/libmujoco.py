"""MuJoCo's C library, called from compiled code without Python's lock.

MuJoCo's own Python bindings take the lock for every call and every array. Here a compiled loop holds
the addresses of a model, of its data and of the C functions as plain integers and calls them itself.
Integers rather than ctypes objects, so that Numba can keep the compiled loop on disk.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import mujoco  # type: ignore[import-untyped]
from llvmlite import ir  # type: ignore[import-untyped]
from mujoco.introspect import ast_nodes, structs  # type: ignore[import-untyped]
from numba import cfunc, types
from numba.extending import intrinsic


class Library(NamedTuple):
    """Addresses of the C functions that a control step calls."""

    step1: int
    """``mj_step1``: kinematics, contacts, velocities and bias forces of the current state."""
    step2: int
    """``mj_step2``: actuation, constraint solver and integration."""
    jac_site: int
    """``mj_jacSite``: a site's translational and rotational Jacobians."""


class ContactLayout(NamedTuple):
    """Where ``mjData`` keeps its contacts, in bytes: they have no Python view that stays valid."""

    number: int
    """Offset of the number of contacts in ``mjData``."""
    pointer: int
    """Offset of the pointer to the first contact in ``mjData``."""
    stride: int
    """Size of one contact."""
    geoms: int
    """Offset of the two geom ids in a contact."""


@functools.cache
def library() -> Library:
    """The functions' addresses in the MuJoCo that Python has loaded; warnings are silenced on the way.

    MuJoCo prints each warning and appends it to a file in the working directory. Warnings still count
    in ``mjData.warning``, which is where a diverged simulation is found out.
    """
    handle = ctypes.CDLL(mujoco._functions.__file__)
    ctypes.c_void_p.in_dll(handle, "mju_user_warning").value = _ignore_message.address
    functions = (getattr(handle, name) for name in ("mj_step1", "mj_step2", "mj_jacSite"))
    return Library(*(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions))


def on_fatal_error(handler: Callable[[str], None]) -> None:
    """Have ``handler(message)`` called in the thread in which MuJoCo hits a fatal error.

    MuJoCo would end the process. The handler must not return: MuJoCo would go on with what it cannot
    go on with. Calls through MuJoCo's Python bindings are not affected, they raise by themselves.
    """
    global _fatal_error_handler  # MuJoCo keeps the address, so Python has to keep the function

    def decode(message: bytes | None) -> None:
        handler((message or b"").decode(errors="replace"))

    _fatal_error_handler = _MESSAGE_FUNCTION(decode)
    handle = ctypes.CDLL(mujoco._functions.__file__)
    address = ctypes.cast(_fatal_error_handler, ctypes.c_void_p).value
    ctypes.c_void_p.in_dll(handle, "mju_user_error").value = address


_MESSAGE_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_fatal_error_handler: Any = None


@functools.cache
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


@intrinsic
def call_with_data(typing_context, function, model, data):  # type: ignore[no-untyped-def]
    """``function(model, data)``, every argument an address."""
    return types.void(function, model, data), _call


@intrinsic
def call_jac_site(typing_context, function, model, data, jacp, jacr, site):  # type: ignore[no-untyped-def]
    """``function(model, data, jacp, jacr, site)``, every argument but the last an address."""
    return types.void(function, model, data, jacp, jacr, site), _call


@intrinsic
def load_int(typing_context, address):  # type: ignore[no-untyped-def]
    """The C ``int`` at an address."""
    return types.int32(address), _load


@intrinsic
def load_address(typing_context, address):  # type: ignore[no-untyped-def]
    """The pointer at an address, itself as an address."""
    return types.int64(address), _load


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Call the C function at the first argument with the others; a last ``int32`` is a C ``int``."""
    c_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments[1:]])
    builder.call(builder.inttoptr(arguments[0], c_type.as_pointer()), arguments[1:])
    return context.get_dummy_value()


def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    c_type = context.get_value_type(signature.return_type)
    return builder.load(builder.inttoptr(arguments[0], c_type.as_pointer()))


@cfunc(types.void(types.voidptr), cache=True)
def _ignore_message(message):  # type: ignore[no-untyped-def]
    pass


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
