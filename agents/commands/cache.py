"""``ttrl cache``: the tasks that the native engine has compiled, and clearing them."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttrl_env.agents.commands.arguments import read_arguments


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """What is done with compiled tasks."""

    clear: bool = False
    """Delete every compiled task."""


SCHEMA = CacheConfig


def run(arguments: Sequence[str]) -> int:
    """Say where compiled tasks are kept and how much they take, or delete them."""
    config = read_arguments("cache", arguments, SCHEMA)
    if config is None:
        return 0
    from ttrl_env.engines.native.task.locations import cached_bundles, clear_cache, is_whole
    from ttrl_env.libero_version import describe, installed_mujoco
    from ttrl_env.machine.cache_folder import cache_folder

    if config.clear:
        print(f"{clear_cache()} compiled tasks deleted from {cache_folder()}")
        return 0
    bundles = list(cached_bundles())
    whole = sum(is_whole(bundle) for bundle in bundles)
    size = sum(map(_size, bundles))
    print(f"{whole} compiled tasks, {size / 1e9:.1f} GB, in {cache_folder()} (TTRL_CACHE)")
    print(f"World: {describe(installed_mujoco())}; tasks compiled by other versions are compiled again")
    return 0


def _size(bundle: Path) -> int:
    """The bytes of a folder's files, but of none that goes meanwhile."""
    size = 0
    for path in (bundle, *bundle.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size
