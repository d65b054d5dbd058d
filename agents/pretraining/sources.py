"""The demonstrations that ``data`` names: HDF5 files and LeRobotDatasets, one source a task.

``ttrl_env.demonstrations`` reads LIBERO's files, ``ttrl_env.lerobot`` LeRobot's. They meet here, where either
will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.demonstrations.origins import Origin
from ttrl_env.demonstrations.reading import (
    find_files,
    hdf5_files,
    measure_file,
    read_episodes,
    read_origins,
)
from ttrl_env.demonstrations.recorded import DataSize, RecordedEpisode
from ttrl_env.engines.interface import CameraName
from ttrl_env.lerobot.features import find_datasets, is_dataset
from ttrl_env.lerobot.reading import open_tasks


class Source(Protocol):
    """The demonstrations of one task in one place. ``max_episodes`` takes only the first ones."""

    name: str
    """The file or folder, for messages."""

    def measure(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> DataSize:
        """Size of the episodes; everything is checked except the values of arrays."""

    def read(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> Iterator[RecordedEpisode]:
        """The episodes, in their order; raises :class:`~ttrl_env.errors.ConfigError` for unusable ones."""

    def origins(self, max_episodes: int | None = None) -> list[Origin]:
        """Where each episode comes from."""


def find_sources(paths: Sequence[str | Path]) -> list[Source]:
    """The demonstrations in files and folders, in their order; in a folder, HDF5 files come first.

    Raises:
        ConfigError: a path yields nothing, a file or dataset is named twice, or a dataset is damaged.
        MissingDependencyError: there is a LeRobotDataset, and LeRobot is not installed.
    """
    sources: list[Source] = []
    for place in find_files(paths, _in_folder, ".hdf5 file and no LeRobotDataset"):
        sources += open_tasks(place) if is_dataset(place) else [DemonstrationFile(place)]
    return sources


def _in_folder(folder: Path) -> list[Path]:
    datasets = find_datasets(folder)
    return datasets if datasets == [folder] else [*hdf5_files(folder), *datasets]


class DemonstrationFile:
    """An HDF5 file in LIBERO's layout; see :mod:`ttrl_env.demonstrations.reading`."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def measure(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> DataSize:
        """See :class:`Source`."""
        return measure_file(self._path, cameras, pairing, max_episodes)

    def read(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> Iterator[RecordedEpisode]:
        """See :class:`Source`."""
        return read_episodes(self._path, cameras, pairing, max_episodes)

    def origins(self, max_episodes: int | None = None) -> list[Origin]:
        """See :class:`Source`."""
        return read_origins(self._path, max_episodes)
