"""What each task looks like in this process's MuJoCo: ``python -m benchmarks.worlds.play FOLDER``.

Unmodified LIBERO, the published protocol: initial state 0, ten settle steps. Then the pose of every
body but the robot's, and the first picture of both cameras. Tasks whose file is there are left out, so
an interrupted scan goes on.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttrl_env import tasks
from ttrl_env.simulation import EngineConfig
from ttrl_env.upstream_world import UpstreamWorld
from ttrl_env.world import CAMERAS, IMAGE_SIZE, INIT_STATE_ID, scene_bodies


def main(folder: Path, suites: list[str]) -> int:
    """Play every task that has no file yet; returns how many could not be played."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [task for task in every_task(suites) if not scene_file(folder, *task).exists()]
    failed = 0
    for count, (suite, task_id) in enumerate(todo):
        print(f"{folder.name}: {suite} {task_id}, {count + 1} of {len(todo)}", flush=True)
        try:
            write(scene_file(folder, suite, task_id), play(suite, task_id))
        except Exception:  # noqa: BLE001  one task that cannot be built must not end the scan
            traceback.print_exc()
            failed += 1
    return failed


def every_task(suites: list[str]) -> Iterator[tuple[str, int]]:
    """Suites and ids of all tasks."""
    for suite in suites:
        for task_id in range(tasks.get_suite(suite).num_tasks):
            yield suite, task_id


def scene_file(folder: Path, suite: str, task_id: int) -> Path:
    """Where a task's scene is kept."""
    return folder / f"{suite}-{task_id}.npz"


def play(suite: str, task_id: int) -> dict[str, NDArray]:
    """A task's settled scene: ``names`` ``[n]``, ``pos`` ``[n, 3]``, ``quat`` ``[n, 4]``, and pictures."""
    config = EngineConfig(suite=suite, num_rows=1, image_size=IMAGE_SIZE, cameras=CAMERAS)
    world = UpstreamWorld(tasks.get_task(suite, task_id), config)
    try:
        world.reset(INIT_STATE_ID)
        state = world.state()
        bodies = scene_bodies(state.body_names)
        return {
            "names": np.array([state.body_names[body] for body in bodies]),
            "pos": state.body_xpos[bodies],
            "quat": state.body_xquat[bodies],
            **{camera: world.observation[f"{camera}_image"] for camera in CAMERAS},
        }
    finally:
        world.close()


def write(path: Path, scene: dict[str, NDArray]) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        np.savez_compressed(file, **scene)  # type: ignore[arg-type]
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]), sys.argv[2:] or list(tasks.suite_names())), 1))
