"""Which of LIBERO's constructor arguments the native engine covers, and what the others cost."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Sequence
from typing import Any

from ttrl_env.engines.interface import CONTROL_FREQ_HZ
from ttrl_env.libero.domain import DomainConfig
from ttrl_env.libero.upstream import ControlEnv
from ttrl_env.libero.warnings import IgnoredArgumentWarning

CAMERAS = ("agentview", "robot0_eye_in_hand")
"""The cameras that the native engine renders."""

_FIXED = {
    "controller": "OSC_POSE",
    "gripper_types": "default",
    "initialization_noise": None,
    "has_renderer": False,
    "render_collision_mesh": False,
    "render_visual_mesh": True,
    "control_freq": CONTROL_FREQ_HZ,
    "hard_reset": True,
    "renderer": "mujoco",
    "renderer_config": None,
}
"""Arguments that must have LIBERO's default."""

_SIGNATURE = inspect.signature(ControlEnv.__init__)


def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of LIBERO's ``ControlEnv`` by name, with its defaults; raises as calling it would."""
    bound = _SIGNATURE.bind(None, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    arguments.pop("self")
    return {**arguments, **arguments.pop("kwargs")}


def not_covered(arguments: dict[str, Any]) -> list[str]:
    """Arguments that only LIBERO's own environment covers, with their values: ``camera_depths=True``."""
    known = set(_SIGNATURE.parameters)
    wrong = [name for name, value in _FIXED.items() if arguments[name] != value]
    wrong += [name for name in arguments if name not in known]
    if list(_as_sequence(arguments["robots"])) != ["Panda"]:
        wrong.append("robots")
    if any(_as_sequence(arguments["camera_depths"])):
        wrong.append("camera_depths")
    if any(each is not None for each in _as_sequence(arguments["camera_segmentations"])):
        wrong.append("camera_segmentations")
    cameras = _as_sequence(arguments["camera_names"])
    if len(set(cameras)) != len(cameras) or not set(cameras) <= set(CAMERAS):
        wrong.append("camera_names")
    if _image_size(arguments) is None:
        wrong += ["camera_heights", "camera_widths"]
    return [f"{name}={arguments[name]!r}" for name in wrong]


def domain_config(arguments: dict[str, Any]) -> DomainConfig:
    """The settings of a native environment from arguments that are covered."""
    uses_cameras = bool(arguments["use_camera_obs"])
    return DomainConfig(
        bddl_file=str(arguments["bddl_file_name"]),
        cameras=tuple(_as_sequence(arguments["camera_names"])) if uses_cameras else (),
        image_size=_image_size(arguments) or 0,
        renders=bool(arguments["has_offscreen_renderer"]),
        horizon=arguments["horizon"],
        ignore_done=bool(arguments["ignore_done"]),
    )


def warn_of_ignored(arguments: dict[str, Any]) -> None:
    """Warn of a GPU that is asked for: MuJoCo's setting decides, for all environments of the process."""
    device = arguments["render_gpu_device_id"]
    if device not in (-1, None) and str(device) != os.environ.get("MUJOCO_EGL_DEVICE_ID"):
        warnings.warn(
            f"render_gpu_device_id: {device} is ignored; set MUJOCO_EGL_DEVICE_ID={device} before the "
            f"process starts, which all its environments follow",
            IgnoredArgumentWarning,
            stacklevel=4,
        )


def _image_size(arguments: dict[str, Any]) -> int | None:
    """The one height and width of all images; ``None`` if there are several."""
    heights, widths = (_as_sequence(arguments[name]) for name in ("camera_heights", "camera_widths"))
    sizes = set(heights) | set(widths)
    return int(sizes.pop()) if len(sizes) == 1 else None


def _as_sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]
