"""Threads that render images for observations, and that step the environments of a vector environment.

There is one pool of threads for each image size in a process, made when it is first needed. A task is
uploaded, hundreds of megabytes, to as many threads as it has open environments, at most one a core.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.native.records import Sample
from ttrl_env.engines.native.renderer import Renderer
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.threads import ThreadPool
from ttrl_env.machine.cores import usable_cores


def thread_pool(image_size: int) -> ThreadPool:
    """This process's threads for images of a size."""
    key = (os.getpid(), image_size)  # threads do not survive a fork
    if key not in _POOLS:
        _POOLS[key] = ThreadPool(usable_cores(), image_size)
    return _POOLS[key]


def start_image(bundle: TaskBundle, sample: Sample, camera: str, image_size: int) -> Any:
    """Start to render an image; returns a future of ``[image_size, image_size, 3]`` uint8."""
    job = partial(_render, bundle=bundle, sample=sample, camera=camera, image_size=image_size)
    pool = thread_pool(image_size)
    future = pool.start([job], [_homes(bundle, pool.num_threads)])[0]
    future.add_done_callback(_close_at_exit)
    return future


class Open:
    """Says that an environment of a task is open, until it is closed or garbage collected."""

    def __init__(self, bundle: TaskBundle) -> None:
        self.bundle = bundle
        _OPEN.add(self)

    def close(self) -> None:
        """Let threads free the task, if no other environment of it is open."""
        _OPEN.discard(self)


def _render(
    renderer: Renderer, bundle: TaskBundle, sample: Sample, camera: str, image_size: int
) -> NDArray[np.uint8]:
    renderer.keep_only([bundle, *(each.bundle for each in list(_OPEN))])
    image = np.empty((image_size, image_size, 3), np.uint8)
    renderer.render(bundle, sample, camera, image)
    return image


def _homes(bundle: TaskBundle, num_threads: int) -> Collection[int]:
    """The threads that may render a task; tasks with one environment each go to different threads."""
    open_bundles = [each.bundle for each in list(_OPEN)]
    distinct = sorted({id(each) for each in (*open_bundles, bundle)})
    count = max(1, min(num_threads, sum(each is bundle for each in open_bundles)))
    first = distinct.index(id(bundle))
    return [(first + k) % num_threads for k in range(count)]


_POOLS: dict[tuple[int, int], ThreadPool] = {}
_OPEN: weakref.WeakSet[Open] = weakref.WeakSet()


def _close_at_exit(future: Any) -> None:
    """Register the freeing of OpenGL contexts at exit, before EGL's own shutdown.

    MuJoCo registers that when the first context is made, and exit functions run in reverse order.
    """
    atexit.unregister(_close_pools)
    atexit.register(_close_pools)


def _close_pools() -> None:
    for (pid, _), pool in list(_POOLS.items()):
        if pid == os.getpid():
            pool.close()
