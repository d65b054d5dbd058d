"""The number of cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ttrl_env.machine.control_groups import control_groups


def usable_cores() -> int:
    """Number of cores that affinity and control groups allow, at least 1.

    ``os.cpu_count()`` ignores these limits: in a Slurm job or container with eight cores of a node's 128, it
    returns 128.
    """
    on_linux = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """The limit in cores of each control group that contains this process and has a limit."""
    for group in control_groups("cpu"):
        yield from _limit(group)


def _limit(group: Path) -> Iterator[float]:
    """The limit in cores of one control group, of either version; yields nothing if it has none."""
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
