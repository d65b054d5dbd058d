"""Demonstrations as a LeRobotDataset: what ``ttrl record`` or others wrote, for LeRobot's training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.demonstrations.reading import find_files, measure_file, read_episodes, read_origins
from ttrl_env.demonstrations.recorded import DataSize, RecordedEpisode
from ttrl_env.engines.interface import CONTROL_FREQ_HZ, CameraName
from ttrl_env.errors import ConfigError
from ttrl_env.lerobot.features import ACTION, STATE, features, image_key
from ttrl_env.lerobot.library import lerobot_datasets
from ttrl_env.lerobot.observations import agent_pos, rotated
from ttrl_env.lerobot.origins import write_origins
from ttrl_env.machine.memory import require_memory


def write_dataset(
    data: Sequence[str | Path],
    folder: str | Path,
    repo_id: str,
    *,
    cameras: Sequence[CameraName] = ("agentview", "robot0_eye_in_hand"),
    use_videos: bool = True,
    pairing: Pairing = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the demonstrations of HDF5 files as one LeRobotDataset, in LeRobot's version of the format (v3).

    The features are those of :mod:`ttrl_env.lerobot.features`. The folder appears once it is complete.

    Args:
        data: HDF5 files in LIBERO's layout, or folders of them, as for ``ttrl pretrain``.
        folder: the dataset's folder, which must not exist yet.
        repo_id: the dataset's name, ``owner/name``; nothing is uploaded.
        cameras: cameras of the files to include.
        use_videos: store images as videos, which are small and lossy; otherwise as PNG files.
        pairing: as in :func:`~ttrl_env.demonstrations.reading.read_episodes`.
        progress: called with the number of episodes written so far, and of all.

    Raises :class:`ConfigError` for files that :func:`~ttrl_env.demonstrations.reading.read_episodes` refuses,
    for images of several sizes, for an episode that does not fit into memory and for a folder that exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise ConfigError(f"folder: expected one that does not exist yet, got {folder}; choose another name")
    files = find_files(data)
    size = _measure(files, cameras, pairing)
    with _draft(folder) as draft:
        dataset = lerobot_datasets("writing").LeRobotDataset.create(
            repo_id=repo_id,
            root=draft,
            fps=CONTROL_FREQ_HZ,
            robot_type="panda",
            features=features(cameras, min(size.image_sizes), use_videos),
            use_videos=use_videos,
        )
        episodes = chain.from_iterable(read_episodes(file, cameras, pairing) for file in files)
        try:
            for number, episode in enumerate(episodes, start=1):
                _add_episode(dataset, episode, cameras)
                if progress is not None:
                    progress(number, size.num_episodes)
        finally:
            dataset.finalize()  # else garbage collection would, and make the draft's folder again
        write_origins(draft, [origin for file in files for origin in read_origins(file)])
    return folder


def _measure(files: Sequence[Path], cameras: Sequence[CameraName], pairing: Pairing) -> DataSize:
    """Size of all files together; raises if they cannot be one dataset or do not fit into memory."""
    sizes = [measure_file(file, cameras, pairing) for file in files]
    whole = DataSize(
        num_episodes=sum(size.num_episodes for size in sizes),
        num_steps=sum(size.num_steps for size in sizes),
        largest_episode_bytes=max(size.largest_episode_bytes for size in sizes),
        image_sizes=frozenset().union(*(size.image_sizes for size in sizes)),
    )
    if len(whole.image_sizes) > 1:
        found = sorted(whole.image_sizes)
        raise ConfigError(f"data: a dataset has images of one size, got files with {found}; write one each")
    require_memory(2 * whole.largest_episode_bytes, "data: its largest episode", "leave that file out")
    return whole


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A place to write the dataset at, beside ``folder``; it becomes ``folder`` unless an error ends it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        draft = Path(temporary) / "dataset"
        yield draft
        draft.rename(folder)


def _add_episode(dataset: Any, episode: RecordedEpisode, cameras: Sequence[CameraName]) -> None:
    arrays: dict[str, NDArray[Any]] = {
        image_key(camera): rotated(episode.observations[f"{camera}_image"]) for camera in cameras
    }
    arrays[STATE] = agent_pos(episode.observations)
    arrays[ACTION] = episode.actions
    for step in range(len(episode.actions)):
        frame = {key: array[step] for key, array in arrays.items()}
        dataset.add_frame({**frame, "task": episode.instruction})
    dataset.save_episode(parallel_encoding=False)  # the encoder itself uses every core
