"""Stores finished episodes of an evaluation on disk, so that an interrupted evaluation can continue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from ttrl_env.agents.common.json_lines import append_record, cut_torn_end, read_records
from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.errors import ConfigError, TTRLError
from ttrl_env.machine.folder_lock import lock_file
from ttrl_env.machine.whole_files import read_object, write_whole

COMMAND_FILE, EPISODES_FILE = "command.json", "episodes.jsonl"


class EpisodeLog:
    """A log with one JSON line an episode, in a folder that belongs to one evaluation, or other job.

    Args:
        folder: the folder; created if it does not exist.
        command: all settings that determine the episodes. A folder with other settings is refused.
        job: what the folder belongs to, for errors.

    Raises:
        ConfigError: the folder contains another job or other files, or another process uses it.
        CheckpointError: a file in it is damaged; the message names the file.
    """

    def __init__(self, folder: str | Path, command: Mapping[str, Any], job: str = "evaluation") -> None:
        self.folder = Path(folder)
        _check_place(self.folder, job)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = (self.folder / EPISODES_FILE).open("a", encoding="utf-8")
        try:
            lock_file(self._file, self.folder, "output")
            self._episodes = _read(self.folder / EPISODES_FILE)
            _claim(self.folder, json.loads(json.dumps(command)), job, begun=bool(self._episodes))
        except TTRLError:
            self._file.close()
            raise

    def finished(self, checkpoint: str, temperature: float) -> list[Episode]:
        """The logged episodes of a checkpoint at a temperature."""
        return [episode for key, episode in self._episodes if key == (checkpoint, temperature)]

    def add(self, checkpoint: str, temperature: float, episode: Episode) -> None:
        """Append an episode to the file; it survives a crash of this process.

        Raises:
            OSError: the episode cannot be written, for example because the disk is full; names the file.
        """
        self._episodes.append(((checkpoint, temperature), episode))
        record = {"checkpoint": checkpoint, "temperature": temperature, **asdict(episode)}
        append_record(self.folder / EPISODES_FILE, record)

    def __len__(self) -> int:
        """Number of logged episodes."""
        return len(self._episodes)

    def __enter__(self) -> EpisodeLog:
        """Return the log; its file is already open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()


def _check_place(folder: Path, job: str) -> None:
    """Raise unless the folder is new, empty or of a job with a log."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output: expected a folder, got the file {folder}")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names - {EPISODES_FILE} and COMMAND_FILE not in names:
        raise ConfigError(
            f"output: {folder} is not empty and holds no {job}; choose a new folder for the report"
        )


def _claim(folder: Path, command: dict[str, Any], job: str, *, begun: bool) -> None:
    """Raise if the folder has episodes of other settings; if it has none yet, write these settings to it."""
    file = folder / COMMAND_FILE
    if not begun:
        write_whole(file, json.dumps(command, indent=1) + "\n")
        return
    there = read_object(file, "choose another folder to begin anew")
    differing = [key for key in {**there, **command} if there.get(key) != command.get(key)]
    if differing:
        listed = "; ".join(f"{key}: there {there.get(key)}, now {command.get(key)}" for key in differing)
        note = ""
        if "mujoco" in differing:  # absent in reports of earlier versions
            note = " Success in two versions of LIBERO does not compare (docs/which-libero.md)."
        raise ConfigError(
            f"output: {folder} holds another {job} ({listed}).{note} Repeat its command to go on with "
            f"it, or choose another folder"
        )


def _read(file: Path) -> list[tuple[tuple[str, float], Episode]]:
    """Read the episodes of the file, and cut off an incomplete last line that a killed process left."""
    keys = ("checkpoint", "temperature", *(field.name for field in fields(Episode)))
    episodes = []
    for values in read_records(file, keys):
        key = (values["checkpoint"], values["temperature"])
        episodes.append((key, Episode(**{field.name: values[field.name] for field in fields(Episode)})))
    cut_torn_end(file)
    return episodes
