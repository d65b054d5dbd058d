"""Loading a policy from a checkpoint directory, strictly: every tensor must fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttrl_env.agents.policies.tiny_vla import TinyVLA, TinyVLAConfig
from ttrl_env.errors import CheckpointError, unknown_name

_POLICIES = {TinyVLAConfig.model_type: TinyVLA}


def load_policy(path: str | Path) -> TinyVLA:
    """Load the policy saved in ``path`` (``config.json`` and safetensors weights).

    Raises:
        CheckpointError: the folder is not a checkpoint, or a tensor is missing, left over or of
            another shape than its config says; each such tensor is named.
    """
    path = Path(path).expanduser()
    config_file = path / "config.json"
    if not config_file.is_file():
        raise CheckpointError(
            f"policy.path: {path} has no config.json; expected a folder written by save_pretrained "
            f"(inside a training checkpoint it is the folder 'policy')"
        )
    model_type = json.loads(config_file.read_text(encoding="utf-8")).get("model_type")
    if model_type not in _POLICIES:
        raise unknown_name(f"model_type in {config_file}", model_type, _POLICIES)
    loaded: Any = _POLICIES[model_type].from_pretrained(
        path, output_loading_info=True, ignore_mismatched_sizes=True
    )
    policy, report = loaded
    problems = [
        f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in report[kind]))}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(kind)
    ]
    if problems:
        raise CheckpointError(
            f"policy.path: the weights in {path} do not fit its config. " + "; ".join(problems)
        )
    return policy
