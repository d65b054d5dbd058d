"""Reads demonstrations from LeRobotDatasets (v3) of LIBERO: published ones and those of ``ttrl convert``.

LeRobot's own class reads them. It checks little, and looks for missing files on the hub. So what a dataset
says of itself is checked before: that all is there, in the right shapes, and how much memory it takes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.demonstrations.origins import Origin
from ttrl_env.demonstrations.recorded import (
    DataSize,
    RecordedEpisode,
    least_steps,
    recorded_episode,
    wrong_number,
)
from ttrl_env.engines.interface import ACTION_DIM, CameraName
from ttrl_env.errors import ConfigError, TTRLError
from ttrl_env.lerobot.features import ACTION, STATE, check_features, image_key, read_features, refuse
from ttrl_env.lerobot.library import lerobot_datasets
from ttrl_env.lerobot.observations import AGENT_POS_DIM
from ttrl_env.lerobot.origins import read_origins

_FRAME_BYTES = 4 * 3 + 3
"""Bytes for each pixel of a camera while a frame is read: float32 from LeRobot, and uint8."""


def open_tasks(folder: Path) -> list[DatasetTask]:
    """The tasks of a dataset, each with its episodes, in the order in which they first occur.

    Raises:
        MissingDependencyError: LeRobot is not installed.
        ConfigError: the dataset is damaged, of another version, or an episode has several instructions.
    """
    dataset = _Dataset(folder)
    tasks: dict[str, list[int]] = {}
    for episode, instruction in enumerate(dataset.instructions):
        tasks.setdefault(instruction, []).append(episode)
    return [DatasetTask(dataset, instruction, episodes) for instruction, episodes in tasks.items()]


class DatasetTask:
    """The episodes of one instruction in a dataset, as one file of LIBERO's holds them."""

    def __init__(self, dataset: _Dataset, instruction: str, episodes: Sequence[int]) -> None:
        self.name = str(dataset.folder)
        """The dataset's folder, for messages."""
        self._dataset = dataset
        self._instruction = instruction
        self._episodes = episodes

    def measure(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> DataSize:
        """Size of the episodes that :meth:`read` would read.

        Checks everything that it checks, except the values in the files.
        """
        chosen = self._episodes[:max_episodes]
        image_size = check_features(self._dataset.folder, cameras)
        lengths = [self._dataset.lengths[episode] for episode in chosen]
        for episode, length in zip(chosen, lengths, strict=True):
            if length < least_steps(pairing):
                raise self._dataset.refuse(
                    episode,
                    f"expected at least {least_steps(pairing)} steps (pairing={pairing}), got {length}",
                )
            self._dataset.require_files(episode)
        pixels = len(cameras) * image_size**2
        step = 3 * pixels + 8 * AGENT_POS_DIM + 4 * ACTION_DIM
        return DataSize(
            num_episodes=len(chosen),
            num_steps=sum(lengths),
            largest_episode_bytes=max(lengths) * step + _FRAME_BYTES * pixels,
            image_sizes=frozenset([image_size]),
        )

    def read(
        self, cameras: Sequence[CameraName], pairing: Pairing = "auto", max_episodes: int | None = None
    ) -> Iterator[RecordedEpisode]:
        """The episodes, in their order.

        In LeRobot's format an observation comes before its action; ``pairing="after"`` is for datasets that
        were made of LIBERO's published files without regard to that.

        Raises :class:`ConfigError` if the dataset is damaged or of another layout, and for numbers out of
        range. The message names the folder and the episode.
        """
        image_size = check_features(self._dataset.folder, cameras)
        chosen = self._episodes[:max_episodes]
        frames = self._dataset.load(chosen)
        for episode in chosen:
            images, state, actions = self._dataset.arrays(frames, episode, cameras, image_size)
            yield recorded_episode(self._instruction, images, state[:, :6], state[:, 6:], actions, pairing)

    def origins(self, max_episodes: int | None = None) -> list[Origin]:
        """Where each of the episodes comes from, or of the first ``max_episodes``."""
        origins = self._dataset.origins
        return [origins[episode] for episode in self._episodes[:max_episodes]]


class _Frames(NamedTuple):
    """Some episodes of a dataset, as LeRobot reads them."""

    dataset: Any
    """LeRobot's dataset: a frame a row."""
    episode: NDArray[np.int64]
    """``[num_rows]`` the episode of each row."""
    step: NDArray[np.int64]
    """``[num_rows]`` its step in the episode."""


class _Dataset:
    """A dataset on disk: its episodes' metadata, and the frames that LeRobot reads."""

    def __init__(self, folder: Path) -> None:
        """Read the metadata."""
        self.folder = folder
        read_features(folder)
        self._library = lerobot_datasets("reading")
        with self._reading():
            self._metadata = self._library.LeRobotDatasetMetadata(self._name, folder)
            episodes = self._metadata.episodes
            table = {} if episodes is None else episodes.select_columns(["tasks", "length"])[:]
        if not table:
            raise refuse(folder, "it holds no episode")
        self.instructions = [self._instruction(*entry) for entry in enumerate(table["tasks"])]
        """The instruction of each episode."""
        self.lengths = [int(length) for length in table["length"]]
        """The number of steps of each episode."""

    @functools.cached_property
    def origins(self) -> list[Origin]:
        """Where each episode comes from."""
        return read_origins(self.folder, self.instructions)

    def require_files(self, episode: int) -> None:
        """Raise unless the files of an episode are there."""
        with self._reading(episode):
            files = [self._metadata.get_data_file_path(episode)]
            files += [self._metadata.get_video_file_path(episode, key) for key in self._metadata.video_keys]
        missing = [str(file) for file in files if not (self.folder / file).is_file()]
        if missing:
            raise self.refuse(
                episode, f"it has no {', '.join(missing)}; copy the dataset again, with all files"
            )

    def load(self, episodes: Sequence[int]) -> _Frames:
        """Open some episodes with LeRobot's own class."""
        with self._reading():
            dataset = self._library.LeRobotDataset(self._name, self.folder, episodes=list(episodes))
            columns = ["episode_index", "frame_index"]
            table = dataset.hf_dataset.with_format("numpy", columns=columns)[:]
        return _Frames(dataset, *(np.asarray(table[column]) for column in columns))

    def arrays(
        self, frames: _Frames, episode: int, cameras: Sequence[CameraName], image_size: int
    ) -> tuple[dict[CameraName, NDArray[np.uint8]], NDArray[np.float64], NDArray[np.float32]]:
        """An episode's images by camera, bottom row first; its states ``[T, 8]``; its actions ``[T, 7]``."""
        rows, length = self._rows(frames, episode), self.lengths[episode]
        shape = (length, image_size, image_size, 3)
        images: dict[CameraName, NDArray[Any]] = {camera: np.empty(shape, np.uint8) for camera in cameras}
        state, actions = np.empty((length, AGENT_POS_DIM)), np.empty((length, ACTION_DIM), dtype=np.float32)
        for step, row in enumerate(rows):
            with self._reading(episode):
                frame = frames.dataset[int(row)]
                state[step], actions[step] = np.asarray(frame[STATE]), np.asarray(frame[ACTION])
                for camera in cameras:
                    images[camera][step] = _turned_back(frame[image_key(camera)], image_size)
        self._check_numbers(episode, state, actions)
        return images, state, actions

    def refuse(self, episode: int, problem: str) -> ConfigError:
        """The error for an episode: it names the dataset and the episode."""
        return refuse(self.folder, f"episode {episode}: {problem}")

    @property
    def _name(self) -> str:
        """In place of a repository's name: none that the hub allows, so that nothing can be downloaded."""
        return str(self.folder.resolve())

    def _instruction(self, episode: int, tasks: Sequence[str]) -> str:
        if len(tasks) != 1 or not tasks[0].strip():
            raise self.refuse(episode, f"expected one instruction, got {list(tasks)}")
        return tasks[0]

    def _check_numbers(self, episode: int, state: NDArray[Any], actions: NDArray[Any]) -> None:
        """Raise for numbers that cannot be LIBERO's, and for the gripper's in the other usual convention."""
        for key, numbers in ((STATE, state), (ACTION, actions)):
            problem = wrong_number(numbers, is_action=key == ACTION)
            if problem is not None:
                raise self.refuse(episode, f"{key}: {problem}")
        gripper = actions[:, -1]
        if (gripper == 0).any() and np.isin(gripper, (0, 1)).all():
            raise self.refuse(
                episode,
                f"{ACTION}: expected the gripper's from -1 (open) to 1 (close), got only 0 and 1; that is "
                f"another convention than LIBERO's, and is not read",
            )

    def _rows(self, frames: _Frames, episode: int) -> NDArray[np.int64]:
        """The rows of an episode's steps; raises unless each step is there once, in order."""
        rows, length = np.flatnonzero(frames.episode == episode), self.lengths[episode]
        if not np.array_equal(frames.step[rows], np.arange(length)):
            raise self.refuse(
                episode,
                f"expected steps 0 to {length - 1} in order, got {frames.step[rows].tolist()!s:.80}; the "
                f"dataset is damaged or incomplete",
            )
        return rows

    @contextmanager
    def _reading(self, episode: int | None = None) -> Iterator[None]:
        """Turn errors of LeRobot, and of the libraries it reads with, into one that names the dataset."""
        try:
            yield
        except TTRLError:
            raise
        except Exception as error:  # each of those libraries has exceptions of its own
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            place = "" if episode is None else f"episode {episode}: "
            raise refuse(
                self.folder,
                f"{place}LeRobot cannot read it: {reason}. If it is damaged or incomplete, copy it again",
            ) from error


def _turned_back(pixels: Any, size: int) -> NDArray[np.uint8]:
    """LIBERO's image ``[size, size, 3]``, bottom row first, of LeRobot's ``[3, size, size]`` from 0 to 1."""
    array = np.asarray(pixels)
    if array.shape != (3, size, size):
        raise ValueError(f"expected images of {size} x {size} pixels, got {list(array.shape)}")
    if array.dtype != np.uint8:
        array = np.rint(array * 255).astype(np.uint8)
    return array.transpose(1, 2, 0)[::-1, ::-1]
