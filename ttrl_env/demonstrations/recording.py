"""Records a task's demonstrations to a file, and continues interrupted recordings.

Attempt ``k`` is a function of the settings and ``k``: its initial state, shift and noise come from
``(seed, k)``. Each attempt is kept in a file of its own until there are enough. An interruption, even a
power cut, therefore loses only the attempts under way. The finished file contains the first successful ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.demonstrations import hdf5
from ttrl_env.demonstrations.experts import make_expert
from ttrl_env.demonstrations.perturbation import settle
from ttrl_env.demonstrations.playing import play
from ttrl_env.engines import opengl
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.engines.native.replica import Replica
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.engines.native.threads import ThreadPool
from ttrl_env.errors import ConfigError, ExpertFailedError
from ttrl_env.init_states import InitStateStream
from ttrl_env.libero_tasks import LiberoTask
from ttrl_env.libero_version import installed_mujoco
from ttrl_env.machine.folder_lock import LOCK_FILE, folder_lock
from ttrl_env.machine.memory import require_memory

SETTLE_STEPS = 10

PARTS = ".parts"
"""Suffix of the folder where a file's attempts are kept until there are enough."""

_SETTINGS = "settings.hdf5"

MAX_ATTEMPTS_PER_EPISODE = 3
"""Recording gives up after this many attempts for each episode asked for."""

Progress = Callable[[int, int], None]
"""Called with the number of episodes recorded so far and the number asked for."""


@dataclass(frozen=True, kw_only=True)
class RecordingSettings:
    """Everything besides the task that determines the episodes of a file."""

    image_size: int = 128
    """Height and width of images, pixels."""
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    """Cameras that are rendered at every step."""
    noise: float = 0.1
    """Standard deviation of the noise added to the executed motion, in the action's unit."""
    shift: float = 0.0
    """Largest distance along x and y, metres, between an object's start and the initial state's position."""
    max_steps: int = 200
    """Longest episode that is kept, in policy steps."""
    seed: int = 0
    """Seed of noise, shifts and the order of the train split's initial states."""


def dataset_file(folder: Path, task: LiberoTask) -> Path:
    """Path of a task's file, with LIBERO's file name."""
    return folder / task.suite / f"{task.name}_demo.hdf5"


def record_dataset(
    task: LiberoTask,
    folder: Path,
    num_episodes: int,
    settings: RecordingSettings,
    *,
    num_workers: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Make sure that a task's file holds ``num_episodes`` successful episodes; returns its path.

    Raises:
        UnknownNameError: the task has no expert.
        ConfigError: the file was recorded with other settings, another process is recording it, or it
            does not fit into memory.
        ExpertFailedError: the expert failed too often.
        OSError: the file cannot be written; the message names it. Finished attempts are kept.
    """
    path = dataset_file(folder, task)
    if _is_finished(path, num_episodes, settings) and not path.with_suffix(PARTS).exists():
        return path
    opengl.require_gl()
    make_expert(task)  # raises before any work if the task has no expert
    with folder_lock(path.with_suffix(PARTS), "output_dir"):
        if not _is_finished(path, num_episodes, settings):
            parts = _Parts(path, settings)
            pool = ThreadPool(num_workers, settings.image_size)
            with closing(pool):
                _record_missing(pool, parts, task, num_episodes, settings, progress)
            _join(parts.successful()[:num_episodes], path, task, settings)
        _remove_parts(path.with_suffix(PARTS))  # all of it is in the finished file
    return path


def memory_needed(settings: RecordingSettings, num_workers: int) -> int:
    """Memory in bytes of the images held at once: as rendered, stacked, and compressed in a file buffer."""
    image = 3 * settings.image_size**2
    return 3 * num_workers * settings.max_steps * len(settings.cameras) * image


def _is_finished(path: Path, num_episodes: int, settings: RecordingSettings) -> bool:
    """Whether a task's file has ``num_episodes``; raises if they were recorded with other settings."""
    if not path.exists():
        return False
    _check_settings(path, settings)
    return hdf5.read_num_episodes(path) >= num_episodes


def _join(episodes: Sequence[Path], path: Path, task: LiberoTask, settings: RecordingSettings) -> None:
    """Assemble the finished file, in memory first."""
    require_memory(
        2 * sum(episode.stat().st_size for episode in episodes),
        f"episodes: putting {path} together",
        "the episodes are kept; ask for fewer, or run the same command on a larger machine",
    )
    hdf5.assemble(path, task, _plain(settings), episodes)


def _record_missing(
    pool: ThreadPool,
    parts: _Parts,
    task: LiberoTask,
    num_episodes: int,
    settings: RecordingSettings,
    progress: Progress | None,
) -> None:
    """Keep all workers busy with attempts until ``num_episodes`` of them have succeeded."""
    bundle = load_bundle(task)
    stream = InitStateStream(task.suite, task.task_id, "train", [settings.seed])
    running: dict[Future[Any], int] = {}
    following, limit = 0, MAX_ATTEMPTS_PER_EPISODE * num_episodes
    while True:
        done = len(parts.successful())
        if progress is not None:
            progress(min(done, num_episodes), num_episodes)
        if done >= num_episodes and not running:
            return
        if done < num_episodes and following - len(running) >= limit:
            raise _hopeless(done, following - len(running), num_episodes, settings)
        while following < limit and len(running) < pool.num_threads and done + len(running) < num_episodes:
            if not parts.has(following):
                job = partial(
                    _attempt, bundle, task, parts, settings, attempt=following, init_state=stream[following]
                )
                running[pool.start([job], [range(pool.num_threads)])[0]] = following
            following += 1
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            del running[future]
            future.result()


def _attempt(
    bundle: TaskBundle,
    task: LiberoTask,
    parts: _Parts,
    settings: RecordingSettings,
    renderer: Renderer,
    *,
    attempt: int,
    init_state: int,
) -> None:
    """Play one attempt; store its episode if it succeeds, otherwise mark it as failed."""
    rng = np.random.default_rng([settings.seed, attempt])
    shipped = libero_tasks.init_states(task.suite, task.task_id)[init_state]
    replica, start = settle(bundle, shipped, SETTLE_STEPS, settings.shift, rng)

    def render(replica: Replica) -> dict[str, NDArray[np.uint8]]:
        shape = (settings.image_size, settings.image_size, 3)
        images = {camera: np.empty(shape, dtype=np.uint8) for camera in settings.cameras}
        for camera, image in images.items():
            renderer.render(bundle, replica.sample, camera, image)
        return images

    trajectory = play(
        replica, make_expert(task), max_steps=settings.max_steps, noise=settings.noise, rng=rng, render=render
    )
    if trajectory.success:
        attributes = {"attempt": attempt, "init_state_id": init_state, "init_state": start}
        hdf5.write_episode(parts.file(attempt), trajectory, attributes)
    else:
        parts.fail(attempt)


def _hopeless(done: int, finished: int, num_episodes: int, settings: RecordingSettings) -> ExpertFailedError:
    return ExpertFailedError(
        f"the expert solved {done} of {finished} attempts, each within max_steps={settings.max_steps}, "
        f"and {num_episodes} episodes were asked for. Lower noise, which is {settings.noise:g}, or raise "
        f"max_steps."
    )


class _Parts:
    """The folder with the attempts of an unfinished file, one file each."""

    def __init__(self, path: Path, settings: RecordingSettings) -> None:
        """Open the folder, or make it from the episodes that ``path`` already contains.

        Unreadable attempts are deleted, so that they are played again.
        """
        self._folder = path.with_suffix(PARTS)
        key = self._folder / _SETTINGS
        if key.exists():
            _check_settings(key, settings)
        elif path.exists():
            hdf5.split(path, self.file)
        hdf5.write_settings(key, _plain(settings))
        for part in self.successful():
            if not hdf5.is_whole(part):
                part.unlink()

    def file(self, attempt: int) -> Path:
        """Path of a successful attempt's episode."""
        return self._folder / f"attempt_{attempt:06d}.hdf5"

    def fail(self, attempt: int) -> None:
        """Mark an attempt as failed, so that it is not played again."""
        self.file(attempt).with_suffix(".failed").touch()

    def has(self, attempt: int) -> bool:
        """Whether an attempt has been played, with or without success."""
        return self.file(attempt).exists() or self.file(attempt).with_suffix(".failed").exists()

    def successful(self) -> list[Path]:
        """Files of the successful attempts, in order."""
        return sorted(self._folder.glob("attempt_*.hdf5"))


def _remove_parts(folder: Path) -> None:
    """Delete the files of :class:`_Parts` and the lock; the folder stays only if it holds anything else."""
    for name in ("*attempt_*", _SETTINGS, LOCK_FILE):
        for file in folder.glob(name):
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _check_settings(path: Path, settings: RecordingSettings) -> None:
    found, wanted = hdf5.read_settings(path), _plain(settings)
    if found is None:
        raise ConfigError(f"{path} was not recorded by `ttrl record`; choose another folder (output_dir)")
    different = [
        f"{key}={found.get(key)!r} (asked for: {wanted[key]!r})"
        for key in wanted
        if found.get(key) != wanted[key]
    ]
    if different:
        raise ConfigError(
            f"{path} was recorded with {', '.join(different)}; use the same settings to add episodes, or "
            f"another folder (output_dir)"
        )


def _plain(settings: RecordingSettings) -> dict[str, Any]:
    """The settings as JSON values, plus the version of MuJoCo."""
    return {**asdict(settings), "cameras": list(settings.cameras), "mujoco": installed_mujoco()}
