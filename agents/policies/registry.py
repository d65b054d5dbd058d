"""Kinds of policies beside the package's own: what users have registered or installed.

A checkpoint says in ``config.json`` which kind it is (``model_type``), and nothing in it is ever run. The
code of a kind comes from the user alone: a call of :func:`register_policy`, a module named in
``TTRL_POLICIES``, or an installed package's entry point. None of them is part of a configuration, so that no
checkpoint can name code.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from ttrl_env.agents.config.choices import OPENVLA, TINY_VLA
from ttrl_env.agents.policies.cameras import PolicyCamera
from ttrl_env.agents.policies.conformance import check_cameras
from ttrl_env.agents.policies.protocol import TokenPolicy
from ttrl_env.errors import ConfigError, PolicyError

PolicyLoader: TypeAlias = Callable[[Path], TokenPolicy]
"""Makes a policy of a folder that its ``save_pretrained`` has written."""

OWN_KINDS = (TINY_VLA, OPENVLA)
"""Kinds of the policies that come with the package."""

ENTRY_POINTS = "ttrl_env.policies"
"""Group of entry points: named as a kind, each leads to a module that registers it when imported."""

MODULES = "TTRL_POLICIES"
"""Environment variable: modules that register kinds when imported, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class RegisteredPolicy:
    """A kind of policy and how its checkpoints are read."""

    kind: str
    load: PolicyLoader
    cameras: tuple[PolicyCamera, ...]
    source: str
    """Module and name of what was registered."""


def register_policy(
    kind: str, policy: type | PolicyLoader, *, cameras: Sequence[PolicyCamera] | None = None
) -> None:
    """Let :func:`~ttrl_env.agents.load_policy` and every command know a kind of policy.

    Args:
        kind: ``model_type`` in the ``config.json`` of its checkpoints.
        policy: a ``transformers.PreTrainedModel`` class, whose checkpoints are then read here, strictly, or a
            function ``load(folder)`` that returns a policy.
        cameras: the cameras that every policy of the kind needs; by default the class's ``cameras``.

    Raises:
        ConfigError: a kind that is not free or no name.
        PolicyError: something that is neither such a class nor a function, or cameras that do not exist.
    """
    _check_kind(kind)
    source = f"{getattr(policy, '__module__', '?')}.{getattr(policy, '__qualname__', repr(policy))}"
    registered = RegisteredPolicy(
        kind=kind,
        load=_of_class(kind, policy) if isinstance(policy, type) else _function(policy),
        cameras=check_cameras("cameras", getattr(policy, "cameras", None) if cameras is None else cameras),
        source=source,
    )
    existing = _registered.get(kind)
    if existing is not None and existing.source != source:
        raise ConfigError(f"kind: {kind!r} is taken by {existing.source}, got {source}; choose another name")
    _registered[kind] = registered


def policy_kinds() -> list[str]:
    """Every kind that can be loaded."""
    _import_named_modules()
    return sorted({*OWN_KINDS, *_registered, *entry_points(group=ENTRY_POINTS).names})


def is_known_kind(kind: str) -> bool:
    """Whether checkpoints of a kind can be loaded; nothing is imported for the package's own."""
    return kind in OWN_KINDS or kind in policy_kinds()


def registered_policy(kind: str) -> RegisteredPolicy:
    """What is registered as ``kind``, one of :func:`policy_kinds` beside the package's own."""
    _import_named_modules()
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        if kind not in _registered:
            entry.load()
    if kind not in _registered:
        raise ConfigError(
            f"policy.kind: the entry point {kind!r} of the group {ENTRY_POINTS} does not call "
            f"register_policy({kind!r}, ...)"
        )
    return _registered[kind]


_registered: dict[str, RegisteredPolicy] = {}


def _import_named_modules() -> None:
    for name in filter(None, map(str.strip, os.environ.get(MODULES, "").split(","))):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # something that the module imports
            raise ConfigError(
                f"{MODULES}: there is no module {name!r}; expected names of modules as in `import {name}`. "
                f"For a file in the folder you are in, set PYTHONPATH=. as well"
            ) from error


def _check_kind(kind: str) -> None:
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", kind):
        raise ConfigError(f"kind: expected a name of letters, digits, '_', '-' and '.', got {kind!r}")
    if kind in ("auto", *OWN_KINDS):
        raise ConfigError(f"kind: {kind!r} is the package's own; choose another name")


def _of_class(kind: str, policy: type) -> PolicyLoader:
    from ttrl_env.agents.policies.pretrained_class import from_pretrained  # waits for transformers

    return from_pretrained(kind, policy)


def _function(policy: object) -> PolicyLoader:
    if not callable(policy):
        raise PolicyError(f"policy: expected a class or a function load(folder), got {policy!r}")
    return policy
