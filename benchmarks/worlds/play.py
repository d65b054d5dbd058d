"""Play each task in this process's MuJoCo: ``python -m benchmarks.worlds.play FOLDER [SUITE ...]``.

It runs unmodified LIBERO with the published protocol: initial state 0, ten settle steps. It then saves the
poses of all bodies except the robot's, and the first image of both cameras. Tasks that already have a file
are skipped, so an interrupted scan can continue.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks, tasks
from ttrl_env.machine.whole_files import replacing
from ttrl_env.published_scenes import CAMERAS, INIT_STATE_ID, SceneSummary, coarse, make_scene, scene_config


@dataclass(frozen=True, kw_only=True)
class PlayedScene:
    """A scene with its full images."""

    scene: SceneSummary
    images: NDArray[np.uint8]
    """``[2, 256, 256, 3]`` uint8, in the order of :data:`CAMERAS`."""


def main(folder: Path, suites: Sequence[str]) -> int:
    """Play every task that has no file yet; returns how many could not be played."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [task for task in every_task(suites) if not scene_file(folder, *task).exists()]
    failed = 0
    for count, (suite, task_id) in enumerate(todo):
        print(f"{folder.name}: {suite} {task_id}, {count + 1} of {len(todo)}", flush=True)
        try:
            _write(scene_file(folder, suite, task_id), _play(suite, task_id))
        except Exception:  # noqa: BLE001  one task that cannot be built must not end the scan
            traceback.print_exc()
            failed += 1
    return failed


def every_task(suites: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Suites and ids of all tasks."""
    for suite in suites:
        for task_id in range(tasks.get_suite(suite).num_tasks):
            yield suite, task_id


def scene_file(folder: Path, suite: str, task_id: int) -> Path:
    """Path of the file with a task's scene."""
    return folder / f"{suite}-{task_id}.npz"


def read(folder: Path, suite: str, task_id: int) -> PlayedScene | None:
    """Read a task's scene; ``None`` if it has not been played."""
    file = scene_file(folder, suite, task_id)
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as values:
        return PlayedScene(
            scene=SceneSummary(
                names=tuple(values["names"].tolist()),
                pos=values["pos"],
                quat=values["quat"],
                coarse_images=np.stack([coarse(image) for image in values["images"]]),
            ),
            images=values["images"],
        )


def _play(suite: str, task_id: int) -> PlayedScene:
    from ttrl_env.engines.libero.environment import LiberoSimulation  # imports MuJoCo and LIBERO

    simulation = LiberoSimulation(libero_tasks.get_task(suite, task_id), scene_config(suite))
    try:
        simulation.reset(INIT_STATE_ID)
        images = np.stack([simulation.observation[f"{camera}_image"] for camera in CAMERAS])
        return PlayedScene(scene=make_scene(simulation.state(), list(images)), images=images)
    finally:
        simulation.close()


def _write(path: Path, played: PlayedScene) -> None:
    """Write a scene to a file, atomically."""
    with replacing(path) as draft, draft.open("wb") as file:
        scene = played.scene
        np.savez_compressed(file, names=scene.names, pos=scene.pos, quat=scene.quat, images=played.images)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), sys.argv[2:] or tuple(tasks.LIBERO_SUITES)), 1))
