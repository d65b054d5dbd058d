"""Opening a task: from this process, from the cache folder, or compiled now."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.files import keeping, read_bundle, write_bundle
from ttrl_env.engines.native.task.locations import bundle_folder
from ttrl_env.libero_tasks import LiberoTask


def load_bundle(task: LiberoTask, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle:
    """A task's bundle from the cache; the task is compiled first if the cache has no intact bundle.

    Environments of one process that play the same task share its bundle.

    Args:
        task: the task.
        fixture_seed: seed of the reset that places the fixtures.
        folder: the cache; default :func:`~ttrl_env.machine.cache_folder.cache_folder`.
    """
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        bundle = _find(place)
        if bundle is None:
            with _compiling(place):
                bundle = _find(place) or _compile(task, fixture_seed, place)
    bundle.textures.let_go()
    return bundle


def find_bundle(task: LiberoTask, fixture_seed: int = 0, folder: Path | None = None) -> TaskBundle | None:
    """A task's bundle if this process or the cache has an intact one; see :func:`load_bundle`."""
    place = bundle_folder(task, fixture_seed, folder)
    with _OPENING[place]:
        return _find(place)


@contextlib.contextmanager
def _compiling(place: Path) -> Iterator[None]:
    """Keep other processes from compiling the same task; they wait, and then find it in the cache.

    Without a lock, on a read-only folder or a file system that has none, each compiles for itself:
    :func:`write_bundle` bears that. So does whoever has waited for longer than a compilation takes.
    """
    lock = FileLock(place.parent.parent / "locks" / f"{place.name}.lock", timeout=_LONGEST_COMPILATION)
    with contextlib.suppress(OSError, NotImplementedError):  # filelock's Timeout is an OSError
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _compile(task: LiberoTask, fixture_seed: int, place: Path) -> TaskBundle:
    from ttrl_env.engines.native.task.compiler import compile_bundle  # imports robosuite and LIBERO

    bundle = replace(compile_bundle(task, fixture_seed), place=place)
    with keeping(place):
        write_bundle(place, bundle)
    _OPEN[place] = bundle
    return bundle


def _find(place: Path) -> TaskBundle | None:
    bundle = _OPEN.get(place) or read_bundle(place)
    if bundle is not None:
        _OPEN[place] = bundle
    return bundle


_LONGEST_COMPILATION = 300.0
"""Seconds to wait for another process; compiling takes about ten on an idle core."""

_OPEN: weakref.WeakValueDictionary[Path, TaskBundle] = weakref.WeakValueDictionary()
_OPENING: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
