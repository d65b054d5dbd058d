"""Opening a task: from this process, from the cache folder, or compiled now."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from ttrl_env import tasks
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.files import keeping, read_bundle, write_bundle
from ttrl_env.engines.native.task.locations import bundle_folder


def load_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle:
    """A task's bundle from the cache; the task is compiled first if the cache has no intact bundle.

    Environments of one process that play the same task share its bundle.

    Args:
        task: the task.
        fixture_seed: seed of the reset that places the fixtures.
        folder: the cache; default :func:`cache_folder`.
    """
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        bundle = _find(place)
        if bundle is None:
            from ttrl_env.engines.native.task.compiler import compile_bundle  # imports robosuite and LIBERO

            bundle = replace(compile_bundle(task, fixture_seed), place=place)
            with keeping(place):
                write_bundle(place, bundle)
            _OPEN[place] = bundle
    bundle.textures.let_go()
    return bundle


def find_bundle(task: tasks.Task, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle | None:
    """A task's bundle if this process or the cache has an intact one; see :func:`load_bundle`."""
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        return _find(place)


def _find(place: Path) -> TaskBundle | None:
    bundle = _OPEN.get(place) or read_bundle(place)
    if bundle is not None:
        _OPEN[place] = bundle
    return bundle


_OPEN: weakref.WeakValueDictionary[Path, TaskBundle] = weakref.WeakValueDictionary()
_OPENING: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
