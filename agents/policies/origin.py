"""Which LIBERO a policy comes from, as far as its folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttrl_env.agents.run_folder import is_checkpoint
from ttrl_env.world import same_world


def mujoco_of(policy: Path) -> str | None:
    """The version of MuJoCo that the policy in a folder was trained with; ``None`` if nothing says so.

    That of its reinforcement learning, if it belongs to a training checkpoint, else that of the
    demonstrations it was cloned from; of several worlds, the first that is not that of the first file.
    """
    if is_checkpoint(policy.parent):
        return _read(policy.parent / "state.json").get("versions", {}).get("mujoco")
    demonstrations = _read(policy / "config.json").get("demonstrations") or []
    versions = [entry["mujoco"] for entry in demonstrations if entry.get("mujoco") is not None]
    others = [version for version in versions if not same_world(version, versions[0])]
    return (others or versions or [None])[0]


def _read(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty if there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
