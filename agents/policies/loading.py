"""Loading a policy from a checkpoint directory or the Hugging Face hub, strictly: every tensor must fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.tiny_vla import TinyVLA, TinyVLAConfig
from ttrl_env.errors import CheckpointError, unknown_name

if TYPE_CHECKING:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

OPENVLA = "openvla"
"""``model_type`` of OpenVLA and OpenVLA-OFT."""

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")

_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.py", "action_head--*")


def load_policy(path: str | Path, options: PolicyOptions | None = None) -> TinyVLA | OpenVLAPolicy:
    """Load the policy in ``path``: a folder, or a hub repository ``owner/name`` or ``owner/name@revision``.

    Remote code is never run.

    Raises:
        CheckpointError: there is no such checkpoint, or a tensor is missing, left over or of another
            shape than its config says; each such tensor is named.
    """
    options = PolicyOptions() if options is None else options
    folder = find_folder(path)
    config_file = folder / "config.json"
    if not config_file.is_file() and not (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"policy.path: {folder} has no config.json; expected a folder written by save_pretrained "
            f"(inside a training checkpoint it is the folder 'policy') or a published OpenVLA checkpoint"
        )
    model_type = _model_type(config_file) if config_file.is_file() else OPENVLA
    if options.kind not in ("auto", model_type):
        raise CheckpointError(
            f"policy.kind: expected a {options.kind} checkpoint, {folder} has a {model_type}"
        )
    if model_type == OPENVLA:
        from ttrl_env.agents.policies.openvla import load_openvla

        return load_openvla(folder, options, str(path) if is_repo_id(path) else str(folder.resolve()))
    if model_type != TinyVLAConfig.model_type:
        raise unknown_name(f"model_type in {config_file}", model_type, [TinyVLAConfig.model_type, OPENVLA])
    return _load_tiny_vla(folder)


def is_repo_id(path: str | Path) -> bool:
    """Whether ``path`` can only mean a hub repository: ``owner/name``, and no such file or folder."""
    return _REPO_ID.fullmatch(str(path)) is not None and not Path(path).expanduser().exists()


def find_folder(path: str | Path) -> Path:
    """The local folder of a checkpoint; a hub repository is downloaded to Hugging Face's cache first."""
    if not is_repo_id(path):
        return Path(path).expanduser()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo_id, _, revision = str(path).partition("@")
    try:
        return Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"policy.path: there is no folder {path}, and the hub's repository of that name cannot be "
            f"downloaded ({error}). Without a connection, give the path of a downloaded copy"
        ) from error


def _model_type(config_file: Path) -> str:
    try:
        return str(json.loads(config_file.read_text(encoding="utf-8")).get("model_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"policy.path: {config_file} cannot be read: {error}") from error


def _load_tiny_vla(folder: Path) -> TinyVLA:
    loaded: Any = TinyVLA.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True)
    policy, report = loaded
    problems = [
        f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in report[kind]))}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(kind)
    ]
    if problems:
        raise CheckpointError(
            f"policy.path: the weights in {folder} do not fit its config. " + "; ".join(problems)
        )
    return policy
