"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ttrl_env.machine.control_groups import control_groups


def usable_cores() -> int:
    """The cores that affinity and control groups leave of the machine's, at least 1.

    A job of eight cores on a node of 128, as Slurm and containers make them, sees all 128 in
    ``os.cpu_count()``.
    """
    on_linux = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """The cores that each control group above this process grants it, where there is a limit."""
    for group in control_groups("cpu"):
        yield from _limit(group)


def _limit(group: Path) -> Iterator[float]:
    """The limit of one control group, of either version, if it has one."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
    except FileNotFoundError:  # a group without the controller, or one outside this container
        return
