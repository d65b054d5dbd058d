"""Loading a policy strictly: every tensor must fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.policies.finding import find_policy, is_repo_id
from ttrl_env.agents.policies.options import PolicyOptions, refuse_options_without_effect
from ttrl_env.agents.policies.origin import mujoco_of
from ttrl_env.agents.policies.tiny_vla import TinyVLA, TinyVLAConfig
from ttrl_env.agents.policies.tiny_vla_checkpoint import load_tiny_vla, read_tiny_vla_config
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import CheckpointError, unknown_name
from ttrl_env.libero_version import warn_of_another_world

if TYPE_CHECKING:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

OPENVLA = "openvla"
"""``model_type`` of OpenVLA and OpenVLA-OFT."""


def load_policy(name: str | Path, options: PolicyOptions | None = None) -> TinyVLA | OpenVLAPolicy:
    """Load a policy: of a folder, run or training checkpoint, shipped with the package, or from the hub.

    ``name`` is taken as :func:`~ttrl_env.agents.policies.finding.find_policy` says. Remote code is never run.

    Raises:
        CheckpointError: there is no such checkpoint, or a tensor is missing, left over or of another
            shape than its config says; each such tensor is named.
    """
    options = PolicyOptions() if options is None else options
    folder = find_policy(name)
    model_type = _model_type(folder)
    if options.kind not in ("auto", model_type):
        raise CheckpointError(
            f"policy.kind: expected a {options.kind} checkpoint, {folder} has a {model_type}"
        )
    warn_of_another_world(f"policy.path: {name}", mujoco_of(folder))
    if model_type == OPENVLA:
        from ttrl_env.agents.policies.openvla import load_openvla

        return load_openvla(folder, options, str(name) if is_repo_id(name) else str(folder.resolve()))
    policy = read_tiny_vla_config(folder)
    refuse_options_without_effect(options, policy.chunk_steps)
    return load_tiny_vla(folder)


def read_cameras(folder: Path) -> tuple[CameraName, ...]:
    """The cameras that the policy in a folder needs, without loading its weights."""
    if _model_type(folder) == OPENVLA:
        from ttrl_env.agents.policies.openvla import OpenVLAPolicy

        return OpenVLAPolicy.cameras
    return read_tiny_vla_config(folder).cameras


def _model_type(folder: Path) -> str:
    """Which policy a folder holds; adapters without a ``config.json`` are OpenVLA's."""
    config_file = folder / "config.json"
    if not config_file.exists():
        return OPENVLA
    model_type = read_own_json(folder, config_file.name).get("model_type")
    known = [TinyVLAConfig.model_type, OPENVLA]
    if model_type not in known:
        raise unknown_name(f"model_type in {config_file}", model_type, known)
    return str(model_type)
