"""``ttrl cache``: the tasks that the native engine has compiled, and clearing them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Say where compiled tasks are kept and how much they take, or delete them."""
    parser = argparse.ArgumentParser(prog="ttrl cache", description=__doc__)
    parser.add_argument("--clear", action="store_true", help="delete every compiled task")
    options = parser.parse_args(arguments)
    from ttrl_env.bundle import cache_folder, clear_cache
    from ttrl_env.world import describe, installed_mujoco

    if options.clear:
        print(f"{clear_cache()} compiled tasks deleted from {cache_folder()}")
        return 0
    files = [file for file in (cache_folder() / "bundles").rglob("*") if file.is_file()]
    bundles = {file.parent for file in files}
    size = sum(file.stat().st_size for file in files)
    print(f"{len(bundles)} compiled tasks, {size / 1e9:.1f} GB, in {cache_folder()} (TTRL_CACHE)")
    print(f"World: {describe(installed_mujoco())}; tasks compiled by other versions are compiled again")
    return 0
