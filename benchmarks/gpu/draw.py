"""Images of one task by the OpenGL that this process finds: ``python -m benchmarks.gpu.draw``, for ``egl``.

Two processes with different OpenGL draw the same states, as physics does not depend on it.
"""

from __future__ import annotations

import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.figures import NotPossibleError, Setting
from benchmarks.gpu.simulation import image_size, open_bundle
from benchmarks.measuring import seconds_of
from ttrl_env import libero_tasks
from ttrl_env.errors import MissingDependencyError

CAMERAS = ("agentview", "robot0_eye_in_hand")
NOT_POSSIBLE = 3
"""The exit code of a process without a task or without OpenGL."""


def main(output: str, setting: str) -> int:
    """Write images, the renderer's name and seconds an image to ``output``."""
    fields = json.loads(setting)
    try:
        with ThreadPoolExecutor(1) as pool:  # OpenGL's context must not be the main thread's
            found = pool.submit(draw, Setting(**{**fields, "results": Path(fields["results"])})).result()
    except (NotPossibleError, MissingDependencyError) as reason:
        print(reason)
        return NOT_POSSIBLE
    np.savez(output, **cast(Any, found))
    return 0


def draw(setting: Setting) -> dict[str, NDArray[Any]]:
    """``images`` uint8 ``[states, cameras, H, W, 3]``, ``renderer``, and median ``seconds`` an image."""
    bundle = open_bundle(setting)
    from ttrl_env.engines.native.renderer import Renderer
    from ttrl_env.engines.native.replica import Replica

    size, states = image_size(setting), 1 if setting.dry_run else 8
    replica, renderer = Replica(bundle), Renderer(size)
    images = np.zeros((states, len(CAMERAS), size, size, 3), np.uint8)
    rng, seconds = np.random.default_rng(0), []
    start = libero_tasks.init_states(setting.suite, setting.task_id)[0]
    replica.reset(start, 0 if setting.dry_run else 10)
    renderer.upload(bundle)
    for state in images:
        for camera, image in zip(CAMERAS, state, strict=True):
            for _ in range(setting.rounds):
                seconds.append(seconds_of(renderer.render, bundle, replica.sample, camera, image))
        replica.step(rng.uniform(-1, 1, (8, 7)))
    name = renderer_name()
    renderer.close()
    return {"images": images, "renderer": np.array(name), "seconds": np.array(statistics.median(seconds))}


def renderer_name() -> str:
    """What OpenGL calls the device of the context that is current in this thread."""
    from OpenGL import GL

    return bytes(GL.glGetString(GL.GL_RENDERER)).decode()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
