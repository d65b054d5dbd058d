"""The control groups of this process: the limits that Linux sets for a container or a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def control_groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that contain this process, from the innermost to the root.

    Args:
        controller: the limited resource, ``"cpu"`` or ``"memory"``. Version 1 of control groups has a tree
            for each; version 2 has one tree, in which a group may lack the controller's files.
    """
    if not _OWN.is_file():
        return
    for line in _OWN.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _ROOT / controllers if controllers else _ROOT
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))
