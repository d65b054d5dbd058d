"""The initial scene of every task in published LIBERO, and the comparison of an engine's scenes with it.

The file ``published_scenes.npz`` beside this module describes each of the 290 tasks after initial state 0 has
settled. It contains the poses of all bodies except the robot's. It also contains the first image of both
cameras as the mean colours of 8 x 8 blocks. These are coarse enough to be the same with every OpenGL driver,
and fine enough to show another texture or a bowl that has slipped. ``python -m benchmarks.worlds`` makes the
file, with unmodified LIBERO on MuJoCo 3.3.2.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import CameraName, EngineConfig, SimState, SimulationEngine
from ttrl_env.errors import UnknownNameError

FILE = Path(__file__).with_name("published_scenes.npz")

CAMERAS: tuple[CameraName, ...] = ("agentview", "robot0_eye_in_hand")
IMAGE_SIZE = 256
INIT_STATE_ID = 0

BLOCKS = 8
"""Number of blocks along each side of an image."""

POSITION_TOLERANCE_M = 0.002
ROTATION_TOLERANCE_DEG = 2.0
COLOUR_TOLERANCE = 6.0
"""Grey levels (of 255) by which a block's mean colour may differ: OpenGL drivers round edges differently."""

_ROBOT = ("robot0_", "gripper0_", "mount0_")


@dataclass(frozen=True, kw_only=True)
class SceneSummary:
    """A task's bodies and images at its first observation."""

    names: tuple[str, ...]
    """Names of the ``n`` bodies, without the world body and the robot's."""
    pos: NDArray[np.floating]
    """``[n, 3]`` positions, metres, world frame."""
    quat: NDArray[np.floating]
    """``[n, 4]`` orientations (wxyz)."""
    coarse_images: NDArray[np.floating]
    """``[2, BLOCKS, BLOCKS, 3]`` mean colours, 0 to 255, of each of :data:`CAMERAS`, bottom row first."""


def scene_config(suite: str) -> EngineConfig:
    """Configuration of an engine for :func:`see`."""
    return EngineConfig(suite=suite, num_rows=1, image_size=IMAGE_SIZE, cameras=CAMERAS)


def see(engine: SimulationEngine, task_id: int) -> SceneSummary:
    """Reset an engine made with :func:`scene_config` to a task and return its scene."""
    engine.reset([0], [task_id], [INIT_STATE_ID])
    return make_scene(engine.state(0), [engine.observations[f"{camera}_image"][0] for camera in CAMERAS])


def make_scene(state: SimState, images: Sequence[NDArray[np.uint8]]) -> SceneSummary:
    """Make a scene from a state and its images, which are in the order of :data:`CAMERAS`."""
    bodies = [i for i, name in enumerate(state.body_names) if i and not name.startswith(_ROBOT)]
    return SceneSummary(
        names=tuple(state.body_names[body] for body in bodies),
        pos=state.body_xpos[bodies],
        quat=state.body_xquat[bodies],
        coarse_images=np.stack([coarse(image) for image in images]),
    )


def coarse(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``[BLOCKS, BLOCKS, 3]`` mean colours of a square image."""
    side = image.shape[0] // BLOCKS
    return image.reshape(BLOCKS, side, BLOCKS, side, 3).mean(axis=(1, 3))


def published_scene(suite: str, task_id: int) -> SceneSummary:
    """A task's scene in published LIBERO, from the file beside this module."""
    values = _read()
    found = np.flatnonzero(values["tasks"] == f"{suite}/{task_id}")
    if not found.size:
        raise UnknownNameError(
            f"{suite} {task_id}: not in {FILE.name}; `python -m benchmarks.worlds --golden` makes it"
        )
    task = int(found[0])
    bodies = slice(*values["first_body"][task : task + 2])
    return SceneSummary(
        names=tuple(values["names"][bodies].tolist()),
        pos=values["pos"][bodies],
        quat=values["quat"][bodies],
        coarse_images=values["coarse_images"][task].astype(np.float64),
    )


def write_published(scenes: dict[tuple[str, int], SceneSummary], file: Path = FILE) -> None:
    """Write the file that :func:`published_scene` reads; ``scenes`` are by suite and task id."""
    counts = [len(scene.names) for scene in scenes.values()]
    np.savez_compressed(
        file,
        tasks=np.array([f"{suite}/{task_id}" for suite, task_id in scenes]),
        first_body=np.cumsum([0, *counts]),
        names=np.array([name for scene in scenes.values() for name in scene.names]),
        pos=np.concatenate([scene.pos for scene in scenes.values()]).astype(np.float32),
        quat=np.concatenate([scene.quat for scene in scenes.values()]).astype(np.float32),
        coarse_images=np.stack([scene.coarse_images for scene in scenes.values()]).round().astype(np.uint8),
    )


def differences(seen: SceneSummary, published: SceneSummary) -> list[str]:
    """Phrases that describe each difference from published LIBERO; empty if the scenes agree."""
    if seen.names != published.names:
        other = sorted(set(seen.names) ^ set(published.names))
        return [f"has other bodies ({', '.join(other[:4])}): another LIBERO is installed"]
    return [*_moved(seen, published), *_repainted(seen, published)]


def distance_m(one: SceneSummary, other: SceneSummary) -> NDArray[np.float64]:
    """``[n]`` distance between each body's positions in two scenes, metres."""
    return np.linalg.norm(np.asarray(one.pos, np.float64) - other.pos, axis=1)


def angle_deg(one: SceneSummary, other: SceneSummary) -> NDArray[np.float64]:
    """``[n]`` angle between each body's orientations in two scenes, degrees."""
    cosine = np.abs((np.asarray(one.quat, np.float64) * other.quat).sum(axis=1))
    return np.degrees(2 * np.arccos(np.clip(cosine, 0.0, 1.0)))


def _moved(seen: SceneSummary, published: SceneSummary) -> list[str]:
    """A phrase about the body that differs most from its published pose, if it exceeds a tolerance."""
    distance, angle = distance_m(seen, published), angle_deg(seen, published)
    excess = np.maximum(distance / POSITION_TOLERANCE_M, angle / ROTATION_TOLERANCE_DEG)
    body = int(np.argmax(excess))
    if excess[body] <= 1.0:
        return []
    name = seen.names[body].removesuffix("_main")
    return [f"has {name} {100 * distance[body]:.1f} cm and {angle[body]:.0f} degrees from its published pose"]


def _repainted(seen: SceneSummary, published: SceneSummary) -> list[str]:
    """A phrase for each camera whose image differs in colour."""
    found = []
    for camera, now, then in zip(CAMERAS, seen.coarse_images, published.coarse_images, strict=True):
        change = now - then
        if np.abs(change).max() > COLOUR_TOLERANCE:
            mean, worst = float(change.mean()), float(np.abs(change).max())
            if abs(mean) >= 1:
                how = f"{abs(mean):.0f} grey levels {'darker' if mean < 0 else 'brighter'} than published"
            else:
                how = f"a part of its image by {worst:.0f} grey levels otherwise than published"
            found.append(f"renders {how} ({camera})")
    return found


@functools.cache
def _read() -> dict[str, NDArray[Any]]:
    with np.load(FILE, allow_pickle=False) as archive:
        return dict(archive)
