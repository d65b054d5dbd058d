"""Reading demonstrations from HDF5 files in LIBERO's layout: ours and the published ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env.agents.demonstrations.hdf5 import BEFORE_ACTION, IMAGE_KEYS
from ttrl_env.errors import ConfigError
from ttrl_env.world import is_version

Pairing: TypeAlias = Literal["auto", "before", "after"]
"""Which action an observation belongs to: see :func:`read_episodes`."""


@dataclass(frozen=True, kw_only=True)
class RecordedEpisode:
    """One episode of ``T`` steps as the environment would have shown it."""

    instruction: str
    observations: dict[str, NDArray]
    """As :class:`~ttrl_env.vector_env.TTRLVectorEnv` returns them, first axis ``T``: images uint8, bottom
    row first, and the ``robot0_*`` keys."""
    actions: NDArray[np.float32]
    """``[T, 7]`` the action that each observation is answered with."""


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """HDF5 files named, and those in folders named, in order; at least one."""
    found: list[Path] = []
    for path in (Path(each).expanduser() for each in paths):
        found += [path] if path.is_file() else sorted(path.rglob("*.hdf5"))
    found = [path for path in found if not path.parent.name.endswith(".parts")]
    if not found:
        raise ConfigError(f"data: no .hdf5 file in {', '.join(map(str, paths))}")
    return found


def read_episodes(
    path: Path, cameras: Sequence[str], pairing: Pairing = "auto", max_episodes: int | None = None
) -> Iterator[RecordedEpisode]:
    """The episodes of a file, in their order.

    LIBERO's published files hold the observation *after* each action, so there action ``i + 1`` answers
    observation ``i`` and the last observation is dropped; ours say that theirs come before. ``"auto"``
    follows the file's attribute ``observations``, and takes a file without it as published.

    Raises :class:`ConfigError` if the file is of another layout or lacks a camera.
    """
    with h5py.File(path, "r") as file:
        if "data" not in file or "problem_info" not in file["data"].attrs:
            raise ConfigError(f"data: {path} is not in LIBERO's layout (no 'data' with 'problem_info')")
        data = file["data"]
        instruction = _instruction(data.attrs["problem_info"])
        upright = data.attrs.get("macros_image_convention", "opengl") == "opencv"
        if pairing == "auto":
            pairing = "before" if data.attrs.get("observations") == BEFORE_ACTION else "after"
        for name in _episode_names(data, max_episodes):
            observations = {key: array[()] for key, array in _arrays(path, data[name], cameras).items()}
            if upright:
                for camera in cameras:
                    observations[f"{camera}_image"] = observations[f"{camera}_image"][:, ::-1]
            actions = np.asarray(data[name]["actions"][()], dtype=np.float32)
            if pairing == "after":
                observations = {key: array[:-1] for key, array in observations.items()}
                actions = actions[1:]
            yield RecordedEpisode(instruction=instruction, observations=observations, actions=actions)


def describe_files(files: Sequence[Path], max_episodes: int | None = None) -> list[dict[str, Any]]:
    """What a policy is trained on that reads ``max_episodes`` of each file, for its ``config.json``.

    One entry a file: ``suite`` and ``task`` as LIBERO names them (null if the file does not say),
    ``num_episodes``, and ``init_state_ids``, the initial states that the episodes start from or near,
    sorted, without repetition, and ``mujoco``, the version they were played with (both null for files
    that ``ttrl demos`` did not write).
    """
    return [_describe_file(file, max_episodes) for file in files]


def _describe_file(path: Path, max_episodes: int | None) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        data = file["data"]
        names = _episode_names(data, max_episodes)
        states = {data[name].attrs.get("init_state_id") for name in names}
        bddl = Path(data.attrs.get("bddl_file_name", ""))
        return {
            "suite": bddl.parent.name or None,
            "task": bddl.stem or None,
            "num_episodes": len(names),
            "init_state_ids": None if None in states else sorted(map(int, states)),
            "mujoco": _recorded_mujoco(data.attrs.get("recording")),
        }


def _recorded_mujoco(recording: Any) -> str | None:
    """MuJoCo's version in the settings of a recording; ``None`` for what ``ttrl demos`` did not write."""
    try:
        version = json.loads(recording)["mujoco"]
    except (TypeError, ValueError, KeyError):
        return None
    return version if is_version(version) else None


def _episode_names(data: Any, max_episodes: int | None) -> list[str]:
    """The groups of a file's first episodes, in order."""
    names = (name for name in data if name.startswith("demo_"))
    return sorted(names, key=lambda name: int(name[len("demo_") :]))[:max_episodes]


def quaternions(rotation_vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit quaternions ``[T, 4]`` (xyzw) of rotation vectors ``[T, 3]``, radians."""
    angle = np.linalg.norm(rotation_vectors, axis=1, keepdims=True)
    axis = rotation_vectors / np.maximum(angle, 1e-12)
    return np.concatenate([axis * np.sin(angle / 2), np.cos(angle / 2)], axis=1)


def _arrays(path: Path, demo: Any, cameras: Sequence[str]) -> dict[str, Any]:
    """An episode's observations by the environment's names."""
    observed = demo["obs"]
    wanted = {f"{camera}_image": IMAGE_KEYS[camera] for camera in cameras}
    missing = [key for key in (*wanted.values(), "ee_states", "gripper_states") if key not in observed]
    if missing:
        raise ConfigError(f"data: {path} has no obs/{', obs/'.join(missing)}, got {', '.join(observed)}")
    ee_states = observed["ee_states"][()]
    return {
        **{key: observed[name] for key, name in wanted.items()},
        "robot0_eef_pos": ee_states[:, :3],
        "robot0_eef_quat": quaternions(ee_states[:, 3:]),
        "robot0_gripper_qpos": observed["gripper_states"],
    }


def _instruction(problem_info: str) -> str:
    """The instruction, which published files hold as a string or as a list of characters, in quotes."""
    return "".join(json.loads(problem_info)["language_instruction"]).strip('"')
