"""Demonstrations as a LeRobotDataset: what ``ttrl record`` or others wrote, for LeRobot's training.

The features, named as in LeRobot's datasets of LIBERO::

    observation.images.image     [size, size, 3]  agentview, rotated by 180 degrees
    observation.images.image2    [size, size, 3]  the wrist camera, likewise
    observation.state            float32 [8]  see :func:`ttrl_env.lerobot.observations.agent_pos`
    action                       float32 [7]  the action taken after the observation
    task                         the instruction
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttrl_env.demonstrations.reading import RecordedEpisode, find_files, measure_file, read_episodes
from ttrl_env.engines.interface import ACTION_DIM, CONTROL_FREQ_HZ, CameraName
from ttrl_env.errors import ConfigError, MissingDependencyError
from ttrl_env.lerobot.observations import AGENT_POS_DIM, CAMERA_NAMES, agent_pos, rotated


def write_dataset(
    data: Sequence[str | Path],
    folder: str | Path,
    repo_id: str,
    *,
    cameras: Sequence[CameraName] = ("agentview", "robot0_eye_in_hand"),
    use_videos: bool = True,
) -> Path:
    """Write the demonstrations of HDF5 files as one LeRobotDataset, in LeRobot's version of the format (v3).

    The folder appears once it is complete.

    Args:
        data: HDF5 files in LIBERO's layout, or folders of them, as for ``ttrl pretrain``.
        folder: the dataset's folder, which must not exist yet.
        repo_id: the dataset's name, ``owner/name``; nothing is uploaded.
        cameras: cameras of the files to include.
        use_videos: store images as videos, which are small and lossy; otherwise as PNG files.

    Raises :class:`ConfigError` for files that :func:`~ttrl_env.demonstrations.reading.read_episodes` refuses,
    for images of several sizes and for a folder that exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise ConfigError(f"folder: expected one that does not exist yet, got {folder}; choose another name")
    files = find_files(data)
    sizes = sorted({size for file in files for size in measure_file(file, cameras).image_sizes})
    if len(sizes) > 1:
        raise ConfigError(f"data: a dataset has images of one size, got files with {sizes}; write one each")
    dataset_class = _lerobot_dataset()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as draft:
        dataset = dataset_class.create(
            repo_id=repo_id,
            root=Path(draft) / "dataset",
            fps=CONTROL_FREQ_HZ,
            robot_type="panda",
            features=_features(cameras, sizes, use_videos),
            use_videos=use_videos,
        )
        for file in files:
            for episode in read_episodes(file, cameras):
                _add_episode(dataset, episode, cameras)
        dataset.finalize()
        (Path(draft) / "dataset").rename(folder)
    return folder


def _features(cameras: Sequence[CameraName], sizes: Sequence[int], use_videos: bool) -> dict[str, Any]:
    features: dict[str, Any] = {
        _image_key(camera): {
            "dtype": "video" if use_videos else "image",
            "shape": (size, size, 3),
            "names": ["height", "width", "channel"],
        }
        for camera in cameras
        for size in sizes
    }
    for key, width in (("observation.state", AGENT_POS_DIM), ("action", ACTION_DIM)):
        features[key] = {"dtype": "float32", "shape": (width,), "names": None}
    return features


def _add_episode(dataset: Any, episode: RecordedEpisode, cameras: Sequence[CameraName]) -> None:
    arrays: dict[str, NDArray[Any]] = {
        _image_key(camera): rotated(episode.observations[f"{camera}_image"]) for camera in cameras
    }
    arrays["observation.state"] = agent_pos(episode.observations)
    arrays["action"] = episode.actions
    for step in range(len(episode.actions)):
        frame = {key: array[step] for key, array in arrays.items()}
        dataset.add_frame({**frame, "task": episode.instruction})
    dataset.save_episode()


def _image_key(camera: CameraName) -> str:
    return f"observation.images.{CAMERA_NAMES[camera]}"


def _lerobot_dataset() -> Any:
    """LeRobot's class, imported when a dataset is written: it brings PyTorch."""
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise MissingDependencyError(
            "writing a LeRobotDataset needs LeRobot 0.6 or newer, and Python 3.12 or newer. "
            "Install it with: pip install 'lerobot[dataset]>=0.6'"
        ) from error
    return LeRobotDataset
