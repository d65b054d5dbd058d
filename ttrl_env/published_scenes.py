"""What every task of published LIBERO looks like at its start, and how far an engine is from that.

The file beside this module holds, for each of the 290 tasks, the pose of every body but the robot's after
initial state 0 has settled, and the first picture of both cameras as the mean colours of 8 x 8 blocks: coarse
enough that another OpenGL driver changes nothing, fine enough that another texture or a bowl that has
slipped shows. ``python -m benchmarks.worlds`` makes it, with unmodified LIBERO on MuJoCo 3.3.2.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import EngineConfig, SimState, SimulationEngine
from ttrl_env.errors import UnknownNameError

FILE = Path(__file__).with_name("published_scenes.npz")

CAMERAS: tuple[Literal["agentview", "robot0_eye_in_hand"], ...] = ("agentview", "robot0_eye_in_hand")
IMAGE_SIZE = 256
INIT_STATE_ID = 0

BLOCKS = 8
"""A coarse picture has this many blocks a side."""

POSITION_TOLERANCE_M = 0.002
ROTATION_TOLERANCE_DEG = 2.0
COLOUR_TOLERANCE = 6.0
"""Grey levels (of 255) by which a block's mean colour may differ: OpenGL drivers round edges differently."""

_ROBOT = ("robot0_", "gripper0_", "mount0_")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A task at its first observation."""

    names: tuple[str, ...]
    """Of the ``n`` bodies that are neither the world nor the robot."""
    pos: NDArray[np.floating]
    """``[n, 3]`` positions, metres, world frame."""
    quat: NDArray[np.floating]
    """``[n, 4]`` orientations (wxyz)."""
    pictures: NDArray[np.floating]
    """``[2, BLOCKS, BLOCKS, 3]`` mean colours, 0 to 255, of each of :data:`CAMERAS`, bottom row first."""


def scene_config(suite: str) -> EngineConfig:
    """What an engine has to be made with so that :func:`see` can look at its tasks."""
    return EngineConfig(suite=suite, num_rows=1, image_size=IMAGE_SIZE, cameras=CAMERAS)


def see(engine: SimulationEngine, task_id: int) -> Scene:
    """A task's scene on an engine made with :func:`scene_config`."""
    engine.reset([0], [task_id], [INIT_STATE_ID])
    return make_scene(engine.state(0), [engine.observations[f"{camera}_image"][0] for camera in CAMERAS])


def make_scene(state: SimState, images: Sequence[NDArray[np.uint8]]) -> Scene:
    """The scene of a state and of its pictures, in the order of :data:`CAMERAS`."""
    bodies = [i for i, name in enumerate(state.body_names) if i and not name.startswith(_ROBOT)]
    return Scene(
        names=tuple(state.body_names[body] for body in bodies),
        pos=state.body_xpos[bodies],
        quat=state.body_xquat[bodies],
        pictures=np.stack([coarse(image) for image in images]),
    )


def coarse(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """``[BLOCKS, BLOCKS, 3]`` mean colours of a square picture."""
    side = image.shape[0] // BLOCKS
    return image.reshape(BLOCKS, side, BLOCKS, side, 3).mean(axis=(1, 3))


def published_scene(suite: str, task_id: int) -> Scene:
    """A task as published LIBERO has it."""
    values = _read()
    found = np.flatnonzero(values["tasks"] == f"{suite}/{task_id}")
    if not found.size:
        raise UnknownNameError(
            f"{suite} {task_id}: not in {FILE.name}; `python -m benchmarks.worlds --golden` makes it"
        )
    task = int(found[0])
    bodies = slice(*values["first_body"][task : task + 2])
    return Scene(
        names=tuple(values["names"][bodies].tolist()),
        pos=values["pos"][bodies],
        quat=values["quat"][bodies],
        pictures=values["pictures"][task].astype(np.float64),
    )


def write_published(scenes: dict[tuple[str, int], Scene], file: Path = FILE) -> None:
    """Write the file that :func:`published_scene` reads, of scenes by suite and task."""
    counts = [len(scene.names) for scene in scenes.values()]
    np.savez_compressed(
        file,
        tasks=np.array([f"{suite}/{task_id}" for suite, task_id in scenes]),
        first_body=np.cumsum([0, *counts]),
        names=np.array([name for scene in scenes.values() for name in scene.names]),
        pos=np.concatenate([scene.pos for scene in scenes.values()]).astype(np.float32),
        quat=np.concatenate([scene.quat for scene in scenes.values()]).astype(np.float32),
        pictures=np.stack([scene.pictures for scene in scenes.values()]).round().astype(np.uint8),
    )


def differences(seen: Scene, published: Scene) -> list[str]:
    """What is not as in published LIBERO, a phrase each; empty if the worlds are one."""
    if seen.names != published.names:
        other = sorted(set(seen.names) ^ set(published.names))
        return [f"has other bodies ({', '.join(other[:4])}): another LIBERO is installed"]
    return [*_moved(seen, published), *_repainted(seen, published)]


def distance_m(one: Scene, other: Scene) -> NDArray[np.float64]:
    """``[n]`` how far apart two scenes have their bodies, metres."""
    return np.linalg.norm(np.asarray(one.pos, np.float64) - other.pos, axis=1)


def angle_deg(one: Scene, other: Scene) -> NDArray[np.float64]:
    """``[n]`` how differently two scenes have their bodies turned, degrees."""
    cosine = np.abs((np.asarray(one.quat, np.float64) * other.quat).sum(axis=1))
    return np.degrees(2 * np.arccos(np.clip(cosine, 0.0, 1.0)))


def _moved(seen: Scene, published: Scene) -> list[str]:
    """The body that is furthest from its place, if it is too far."""
    distance, angle = distance_m(seen, published), angle_deg(seen, published)
    excess = np.maximum(distance / POSITION_TOLERANCE_M, angle / ROTATION_TOLERANCE_DEG)
    body = int(np.argmax(excess))
    if excess[body] <= 1.0:
        return []
    name = seen.names[body].removesuffix("_main")
    return [f"has {name} {100 * distance[body]:.1f} cm and {angle[body]:.0f} degrees from its published pose"]


def _repainted(seen: Scene, published: Scene) -> list[str]:
    """Each camera that sees other colours."""
    found = []
    for camera, now, then in zip(CAMERAS, seen.pictures, published.pictures, strict=True):
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
def _read() -> dict[str, NDArray]:
    with np.load(FILE, allow_pickle=False) as archive:
        return dict(archive)
