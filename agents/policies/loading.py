"""Loading a policy strictly: every tensor must fit."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.config.choices import OPENVLA, TINY_VLA
from ttrl_env.agents.policies.cameras import PolicyCamera
from ttrl_env.agents.policies.conformance import check_policy
from ttrl_env.agents.policies.finding import find_policy, hub_name, is_repo_id
from ttrl_env.agents.policies.options import PolicyOptions, refuse_options_without_effect
from ttrl_env.agents.policies.origin import mujoco_of
from ttrl_env.agents.policies.protocol import TokenPolicy
from ttrl_env.agents.policies.registry import is_known_kind, policy_kinds, registered_policy
from ttrl_env.agents.policies.tiny_vla_checkpoint import load_tiny_vla, read_tiny_vla_config
from ttrl_env.errors import CheckpointError, unknown_name
from ttrl_env.libero_version import warn_of_another_version


def load_policy(name: str | Path, options: PolicyOptions | None = None) -> TokenPolicy:
    """Load a policy: of a folder, run or training checkpoint, shipped with the package, or from the hub.

    ``name`` is taken as :func:`~ttrl_env.agents.policies.finding.find_policy` says. Remote code is never run:
    policies of other kinds than the package's are loaded by code that the user has registered
    (:mod:`ttrl_env.agents.policies.registry`).

    Raises:
        CheckpointError: there is no such checkpoint, or a tensor is missing, left over or of another
            shape than its config says; each such tensor is named.
        UnknownNameError: a policy of a kind that nobody has registered.
        ConfigError: an option that does not go with the policy.
        PolicyError: a user's policy that lacks what training calls.
    """
    options = PolicyOptions() if options is None else options
    check_kind(options.kind)
    folder = find_policy(name)
    model_type = read_kind(folder)
    if options.kind not in ("auto", model_type):
        raise CheckpointError(
            f"policy.kind: expected a {options.kind} checkpoint, {folder} has a {model_type}"
        )
    warn_of_another_version(f"policy.path: {name}", mujoco_of(folder))
    if model_type == OPENVLA:
        from ttrl_env.agents.policies.openvla import load_openvla

        return load_openvla(folder, options, hub_name(name) if is_repo_id(name) else str(folder.resolve()))
    if model_type == TINY_VLA:
        refuse_options_without_effect(options, read_tiny_vla_config(folder).chunk_steps, "TinyVLA")
        return load_tiny_vla(folder)
    policy = registered_policy(model_type).load(folder)
    check_policy(policy)
    refuse_options_without_effect(options, policy.chunk_steps, model_type)
    return policy


def check_kind(kind: str) -> None:
    """Raise unless ``policy.kind`` is "auto" or a kind that can be loaded.

    Raises:
        UnknownNameError: lists those there are.
    """
    if kind != "auto" and not is_known_kind(kind):
        raise unknown_name("policy.kind", kind, ["auto", *policy_kinds()], _HOW_TO_REGISTER)


def read_cameras(folder: Path, options: PolicyOptions | None = None) -> tuple[PolicyCamera, ...]:
    """The cameras that the policy in a folder needs, without loading its weights.

    ``options`` are those that it is loaded with.
    """
    model_type = read_kind(folder)
    if model_type == OPENVLA:
        from ttrl_env.agents.policies.openvla.action_space import read_openvla_cameras

        return read_openvla_cameras(folder, PolicyOptions() if options is None else options)
    if model_type == TINY_VLA:
        return read_tiny_vla_config(folder).cameras
    return registered_policy(model_type).cameras


def read_kind(folder: Path) -> str:
    """Which policy a folder holds; adapters without a ``config.json`` are OpenVLA's."""
    config_file = folder / "config.json"
    if not config_file.exists():
        return OPENVLA
    model_type = read_own_json(folder, config_file.name).get("model_type")
    if not isinstance(model_type, str) or not is_known_kind(model_type):
        raise unknown_name(f"model_type in {config_file}", model_type, policy_kinds(), _HOW_TO_REGISTER)
    return model_type


_HOW_TO_REGISTER = "A policy of your own is registered first: docs/own-policy.md."
