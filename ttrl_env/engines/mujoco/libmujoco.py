"""MuJoCo's C library, called from compiled code without the GIL.

MuJoCo's own Python bindings take the GIL for every call and every array. A compiled loop instead calls the
functions directly: it gets the addresses of functions, model and data as plain integers. They are integers
rather than ctypes objects so that Numba can cache the compiled loop on disk.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ttrl_env.engines.compiled import cfunc
from ttrl_env.engines.mujoco import mujoco_c, versions


class Library(NamedTuple):
    """Addresses of the C functions that a control step calls, and one property of the MuJoCo version."""

    step1: int
    """``mj_step1``: kinematics, contacts, velocities and bias forces of the current state."""
    step2: int
    """``mj_step2``: actuation, constraint solver and integration."""
    jac_site: int
    """``mj_jacSite``: a site's translational and rotational Jacobians."""
    fwd_actuation: int
    """``mj_fwdActuation``: forces of the actuators."""
    fwd_acceleration: int
    """``mj_fwdAcceleration``: accelerations without constraints."""
    fwd_constraint: int
    """``mj_fwdConstraint``: the constraint solver."""
    forward_warms_solver: int
    """1 if a step's constraint solver starts from the solution of the last ``mj_forward``, else 0; see
    :func:`ttrl_env.engines.mujoco.versions.forward_warms_solver`."""


@functools.cache
def library() -> Library:
    """Addresses of the functions in the MuJoCo library that Python has loaded. Silences MuJoCo's warnings.

    By default MuJoCo prints each warning and appends it to a file in the working directory. It still counts
    them in ``mjData.warning``, from which a diverged simulation is detected.
    """
    handle = mujoco_c.functions()
    ctypes.c_void_p.in_dll(handle, "mju_user_warning").value = _ignore_message.address

    def address(name: str) -> int:
        return ctypes.cast(getattr(handle, name), ctypes.c_void_p).value or 0

    return Library(
        step1=address("mj_step1"),
        step2=address("mj_step2"),
        jac_site=address("mj_jacSite"),
        fwd_actuation=address("mj_fwdActuation"),
        fwd_acceleration=address("mj_fwdAcceleration"),
        fwd_constraint=address("mj_fwdConstraint"),
        forward_warms_solver=int(versions.forward_warms_solver()),
    )


@intrinsic
def call_with_data(typing_context, function, model, data):  # type: ignore[no-untyped-def]
    """Call ``function(model, data)``; all arguments are addresses."""
    return types.void(function, model, data), _call


@intrinsic
def call_jac_site(typing_context, function, model, data, jacp, jacr, site):  # type: ignore[no-untyped-def]
    """Call ``function(model, data, jacp, jacr, site)``; all arguments but the last are addresses."""
    return types.void(function, model, data, jacp, jacr, site), _call


@intrinsic
def load_int(typing_context, address):  # type: ignore[no-untyped-def]
    """The C ``int`` at an address."""
    return types.int32(address), _load


@intrinsic
def load_address(typing_context, address):  # type: ignore[no-untyped-def]
    """The pointer stored at an address, as an integer."""
    return types.int64(address), _load


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Call the C function at the address in the first argument; an ``int32`` is passed as a C ``int``."""
    c_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments[1:]])
    builder.call(builder.inttoptr(arguments[0], c_type.as_pointer()), arguments[1:])
    return context.get_dummy_value()


def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    c_type = context.get_value_type(signature.return_type)
    return builder.load(builder.inttoptr(arguments[0], c_type.as_pointer()))


@cfunc(types.void(types.voidptr))
def _ignore_message(message):  # type: ignore[no-untyped-def]
    pass
