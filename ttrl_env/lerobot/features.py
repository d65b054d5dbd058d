"""The features of a LeRobotDataset of LIBERO, and the check that a dataset has them; LeRobot is not needed.

Named as in the datasets of LIBERO on the hub::

    observation.images.image     [size, size, 3]  agentview, rotated by 180 degrees
    observation.images.image2    [size, size, 3]  the wrist camera, likewise
    observation.state            float32 [8]  see :func:`ttrl_env.lerobot.observations.agent_pos`
    action                       float32 [7]  the action taken after the observation
    task                         the instruction
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttrl_env.engines.interface import ACTION_DIM, CameraName
from ttrl_env.errors import ConfigError
from ttrl_env.lerobot.observations import AGENT_POS_DIM, CAMERA_NAMES

INFO = Path("meta/info.json")
"""The file by which a dataset's folder is recognised, and in which it describes itself."""

STATE, ACTION = "observation.state", "action"

_CONVERSION = "python -m lerobot.scripts.convert_dataset_v21_to_v30"


def image_key(camera: CameraName) -> str:
    """The feature that holds a camera's images."""
    return f"observation.images.{CAMERA_NAMES[camera]}"


def features(cameras: Sequence[CameraName], image_size: int, use_videos: bool) -> dict[str, Any]:
    """The features of a new dataset, as LeRobot declares them.

    Args:
        cameras: the cameras whose images it has.
        image_size: height and width of the images, pixels.
        use_videos: whether images are stored as videos, otherwise as PNG files.
    """
    declared: dict[str, Any] = {
        image_key(camera): {
            "dtype": "video" if use_videos else "image",
            "shape": (image_size, image_size, 3),
            "names": ["height", "width", "channel"],
        }
        for camera in cameras
    }
    for key, width in ((STATE, AGENT_POS_DIM), (ACTION, ACTION_DIM)):
        declared[key] = {"dtype": "float32", "shape": (width,), "names": None}
    return declared


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a LeRobotDataset, of any version."""
    return (folder / INFO).is_file()


def find_datasets(folder: Path) -> list[Path]:
    """The datasets in a folder: itself, or those below it, in order."""
    if is_dataset(folder):
        return [folder]
    return sorted(info.parents[1] for info in folder.rglob(str(INFO)))


def check_features(folder: Path, cameras: Sequence[CameraName]) -> int:
    """The image size of a dataset, in pixels.

    Raises :class:`~ttrl_env.errors.ConfigError` for another version of the format, a missing feature, and one
    of another shape or dtype. The message names the folder and the feature.
    """
    found = read_features(folder)
    wanted = {**{image_key(camera): "images" for camera in cameras}, STATE: "the state", ACTION: "the action"}
    missing = [f"{key} ({what})" for key, what in wanted.items() if key not in found]
    if missing:
        raise refuse(folder, f"it has no {', '.join(missing)}; got {', '.join(found) or 'no features'}")
    for key, width in ((STATE, AGENT_POS_DIM), (ACTION, ACTION_DIM)):
        _check(folder, found, key, ("float32", "float64"), [[width]])
    sizes = {_image_size(folder, found, image_key(camera)) for camera in cameras}
    if len(sizes) > 1:
        raise refuse(folder, f"expected images of one size, got {sorted(sizes)}")
    return sizes.pop()


def read_features(folder: Path) -> dict[str, Any]:
    """The features that a dataset declares, by name; raises for another version of the format."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(folder, f"{INFO} cannot be read: {error}; copy the dataset again") from error
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if not isinstance(version, str) or not version.startswith("v3."):
        raise refuse(
            folder,
            f"expected LeRobot's format v3, got codebase_version {version!r} in {INFO}; LeRobot converts "
            f"version 2.1: {_CONVERSION} --help",
        )
    declared = info.get("features")
    if not isinstance(declared, dict) or not all(isinstance(each, dict) for each in declared.values()):
        raise refuse(folder, f"expected an object of features in {INFO}, got {declared!r:.80}")
    return declared


def refuse(folder: Path, problem: str) -> ConfigError:
    """The error for a dataset: it names the folder and the problem."""
    return ConfigError(f"data: {folder}: {problem}")


def _image_size(folder: Path, found: dict[str, Any], key: str) -> int:
    """Height and width of a camera's images, which may be declared with the channels first or last."""
    shape = found[key].get("shape")
    size = max((each for each in shape if type(each) is int), default=0) if isinstance(shape, list) else 0
    _check(folder, found, key, ("image", "video"), [[size, size, 3], [3, size, size]])
    return size


def _check(
    folder: Path, found: dict[str, Any], key: str, dtypes: Sequence[str], shapes: Sequence[list[int]]
) -> None:
    """Raise unless a feature has one of the dtypes and shapes."""
    dtype, shape = found[key].get("dtype"), found[key].get("shape")
    if dtype not in dtypes:
        raise refuse(folder, f"{key}: expected dtype {' or '.join(dtypes)}, got {dtype!r}")
    if shape not in shapes:
        expected = "square images, [size, size, 3]" if len(shapes) > 1 else f"shape {shapes[0]}"
        raise refuse(folder, f"{key}: expected {expected}, got {shape!r:.80}")
