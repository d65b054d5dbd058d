"""Reads demonstrations from HDF5 files in LIBERO's layout: published files and those of ``ttrl record``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations import foreign_files, self_description
from ttrl_env.demonstrations.foreign_files import refuse
from ttrl_env.demonstrations.layout import IMAGE_KEYS, Pairing
from ttrl_env.demonstrations.origins import Origin
from ttrl_env.demonstrations.recorded import (
    DataSize,
    RecordedEpisode,
    least_steps,
    recorded_episode,
    wrong_number,
)
from ttrl_env.engines.interface import ACTION_DIM
from ttrl_env.errors import ConfigError

_ROBOT_STATES = {"ee_states": 6, "gripper_states": 2}
"""Robot arrays that are read, and the width of each."""


def hdf5_files(folder: Path) -> list[Path]:
    """The HDF5 files in a folder and in those below it, in order."""
    return sorted(folder.rglob("*.hdf5"))


def find_files(
    paths: Sequence[str | Path],
    in_folder: Callable[[Path], Sequence[Path]] = hdf5_files,
    sought: str = ".hdf5 file",
) -> list[Path]:
    """The demonstrations that ``paths`` name: files themselves, and those in folders, in order.

    Args:
        paths: files and folders.
        in_folder: the demonstrations in a folder, by default its HDF5 files.
        sought: what ``in_folder`` finds, for errors.

    Raises :class:`ConfigError` if a path yields none or one is named twice.
    """
    found: dict[Path, Path] = {}
    if "" in paths:  # Path("") would be the working directory
        raise ConfigError(f"data: expected names of files or folders, got {list(map(str, paths))}")
    for path in (Path(os.path.expanduser(each)) for each in paths):
        files = [path] if not path.is_dir() and path.exists() else in_folder(path)
        files = [file for file in files if not file.parent.name.endswith(".parts")]
        if not files:
            raise ConfigError(f"data: no {sought} in {path}")
        for file in files:
            if file.resolve() in found:
                raise ConfigError(
                    f"data: {file} is named twice, also as {found[file.resolve()]}; name each file once, "
                    f"by itself or by its folder"
                )
            found[file.resolve()] = file
    return list(found.values())


def measure_file(
    path: Path, cameras: Sequence[str], pairing: Pairing = "auto", max_episodes: int | None = None
) -> DataSize:
    """Size of the episodes that :func:`read_episodes` would read.

    Checks everything that it checks, except the values in the arrays.
    """
    with _data(path) as data:
        pairing = self_description.pairing(data, pairing)
        episodes = [_arrays(demo, cameras, pairing) for demo in _episodes(data, max_episodes)]
        steps = sum(len(arrays["actions"]) for arrays in episodes)
        memory = [sum(map(foreign_files.num_bytes, arrays.values())) for arrays in episodes]
        sizes = frozenset(arrays[IMAGE_KEYS[camera]].shape[1] for arrays in episodes for camera in cameras)
    return DataSize(
        num_episodes=len(episodes), num_steps=steps, largest_episode_bytes=max(memory), image_sizes=sizes
    )


def read_episodes(
    path: Path, cameras: Sequence[str], pairing: Pairing = "auto", max_episodes: int | None = None
) -> Iterator[RecordedEpisode]:
    """The episodes of a file, in their order.

    ``pairing`` says whether the file stores an observation before or after its action:

    - ``"after"``: LIBERO's published files. Action ``i + 1`` is paired with observation ``i``; the last
      observation is dropped.
    - ``"before"``: files of ``ttrl record``, and those of OpenVLA's ``regenerate_libero_dataset.py``.
    - ``"auto"``: before, if the file's attribute ``observations`` is ``"before_action"`` or the file has no
      attributes at all, as OpenVLA's; otherwise after.

    Raises :class:`ConfigError` if the file is damaged or of another layout. The same holds for a
    demonstration without one of the cameras, with too few steps, or with numbers out of range. The message
    names the file and the demonstration.
    """
    with _data(path) as data:
        instruction = self_description.instruction(path, data)
        upright = self_description.upright(data)
        pairing = self_description.pairing(data, pairing)
        for demo in _episodes(data, max_episodes):
            arrays = {name: _numbers(array) for name, array in _arrays(demo, cameras, pairing).items()}
            images = {camera: arrays[IMAGE_KEYS[camera]][:, :: -1 if upright else 1] for camera in cameras}
            yield recorded_episode(
                instruction,
                images,
                arrays["ee_states"],
                arrays["gripper_states"],
                arrays["actions"],
                pairing,
            )


def read_origins(path: Path, max_episodes: int | None = None) -> list[Origin]:
    """Where each of a file's episodes comes from, or of its first ``max_episodes``.

    Only files of ``ttrl record`` say the initial states and the version of MuJoCo.
    """
    with _data(path) as data:
        suite, task = self_description.task_names(path, data)
        mujoco = self_description.recorded_mujoco(data)
        return [
            Origin(suite, task, mujoco, foreign_files.whole_number(demo, "init_state_id"))
            for demo in _episodes(data, max_episodes)
        ]


@contextmanager
def _data(path: Path) -> Iterator[h5py.Group]:
    """The group that holds a file's demonstrations."""
    with foreign_files.opened(path) as file:
        if "data" not in foreign_files.names(file):
            raise ConfigError(f"data: {path} is not in LIBERO's layout (no group 'data')")
        yield foreign_files.group(file, "data")


def _episodes(data: h5py.Group, max_episodes: int | None) -> list[h5py.Group]:
    """The groups of a file's first ``max_episodes`` episodes, in order; raises if there are none."""
    found = {}
    for name in foreign_files.names(data):
        if name.startswith("demo_"):
            if not re.fullmatch(r"demo_(0|[1-9][0-9]{0,8})", name):
                raise refuse(data, f"expected demonstrations named demo_0, demo_1, ..., got {name!r}")
            found[int(name[len("demo_") :])] = name
    if not found:
        raise refuse(data, "it holds no demonstration (demo_0, demo_1, ...)")
    return [foreign_files.group(data, found[number]) for number in sorted(found)[:max_episodes]]


def _arrays(demo: h5py.Group, cameras: Sequence[str], pairing: Pairing) -> dict[str, h5py.Dataset]:
    """An episode's arrays by LIBERO's names, with their shapes, dtypes and lengths checked."""
    observed = foreign_files.group(demo, "obs")
    images = [IMAGE_KEYS[camera] for camera in cameras]
    there = foreign_files.names(observed)
    missing = [name for name in (*images, *_ROBOT_STATES) if name not in there]
    if missing:
        raise refuse(demo, f"it has no obs/{', obs/'.join(missing)}, got {', '.join(there)}")
    arrays = {name: foreign_files.dataset(observed, name) for name in (*images, *_ROBOT_STATES)}
    for name in images:
        _check_images(arrays[name])
    arrays["actions"] = foreign_files.dataset(demo, "actions")
    for name, width in {**_ROBOT_STATES, "actions": ACTION_DIM}.items():
        _check_vectors(arrays[name], width)
    _check_lengths(demo, arrays, pairing)
    return arrays


def _check_images(array: h5py.Dataset) -> None:
    if array.dtype != np.uint8:
        raise refuse(array, f"expected uint8 images, 0 to 255, got {array.dtype}; convert them")
    if array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != 3:
        raise refuse(array, f"expected square images, [steps, size, size, 3], got {list(array.shape)}")


def _check_vectors(array: h5py.Dataset, width: int) -> None:
    if array.dtype.kind != "f":
        raise refuse(array, f"expected floating-point numbers, got {array.dtype}")
    if array.ndim != 2 or array.shape[1] != width:
        raise refuse(array, f"expected [steps, {width}], got {list(array.shape)}")


def _check_lengths(demo: h5py.Group, arrays: dict[str, h5py.Dataset], pairing: Pairing) -> None:
    """Raise unless all arrays of an episode have one entry a step; else actions would be paired wrongly."""
    steps = len(arrays["actions"])
    said = foreign_files.whole_number(demo, "num_samples")
    lengths = {f"obs/{name}": len(array) for name, array in arrays.items() if name != "actions"}
    if said is not None:
        lengths["num_samples"] = said
    different = [f"{length} of {name}" for name, length in lengths.items() if length != steps]
    if different:
        raise refuse(
            demo, f"expected as many of everything as actions, got {steps} actions and {', '.join(different)}"
        )
    needed = least_steps(pairing)
    if steps < needed:
        raise refuse(
            demo, f"expected at least {needed} steps (its observations come {pairing} actions), got {steps}"
        )


def _numbers(array: h5py.Dataset) -> NDArray[Any]:
    """Read an array's values; raises unless they are finite in float32, and actions in [-1, 1]."""
    numbers = foreign_files.read(array)
    if array.dtype == np.uint8:
        return numbers
    problem = wrong_number(numbers, is_action=array.name.endswith("/actions"))
    if problem is not None:
        raise refuse(array, problem)
    return numbers
