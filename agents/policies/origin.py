"""Which LIBERO a policy comes from, as far as its folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.run_folder import is_checkpoint
from ttrl_env.libero_version import installed_mujoco, is_version, same_libero


def mujoco_of(policy: Path) -> str | None:
    """The version of MuJoCo that the policy in a folder was trained with; ``None`` if nothing says so.

    That of its reinforcement learning, if it belongs to a training checkpoint, else that of the
    demonstrations it was cloned from; of several worlds, one that is not installed. What others wrote into
    these files is no reason not to load a policy: anything but a version says nothing.
    """
    if is_checkpoint(policy.parent):
        versions = _read(policy.parent / "state.json").get("versions")
        found = [versions.get("mujoco")] if isinstance(versions, dict) else []
    else:
        entries = _read(policy / "config.json").get("demonstrations")
        entries = entries if isinstance(entries, list) else []
        found = [entry.get("mujoco") for entry in entries if isinstance(entry, dict)]
    known = [version for version in found if is_version(version)]
    others = [version for version in known if not same_libero(version, installed_mujoco())]
    return next(iter(others or known), None)


def _read(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty if it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
