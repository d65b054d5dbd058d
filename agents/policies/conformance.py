"""Whether a policy has what is called of it, found out before any work is done."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import nn

from ttrl_env.agents.policies.cameras import WORLDS, PolicyCamera, world_of
from ttrl_env.agents.policies.protocol import TokenPolicy, action_dim
from ttrl_env.checks import check_positive_int
from ttrl_env.errors import PolicyError

PLAYED = ("chunk_steps", "prepare", "sample", "decode")
"""What a rollout or an evaluation calls."""

UPDATED = ("evaluate", "parameters")
"""What an update calls; a value head needs ``num_features`` too."""

TRAINED = (*PLAYED, *UPDATED, "num_features", "cameras", "check_image_size", "save_pretrained")
"""What ``ttrl train`` calls in one process; several need ``sharding_units`` too."""


def check_policy(policy: object, names: Sequence[str] = TRAINED) -> None:
    """Raise unless ``policy`` has ``names``, members of a ``TokenPolicy``, and is a module where it must be.

    Rollouts and updates of one process call nothing of ``torch.nn.Module`` but what ``names`` has.

    Raises:
        PolicyError: lists every one that is missing or takes other arguments, or names one of another type.
    """
    faults = _faults(policy, type(policy), names)
    if not (isinstance(policy, nn.Module) or set(names) <= {*PLAYED, *UPDATED, "num_features"}):
        faults.append("no torch.nn.Module as its base class")
    if faults:
        raise _error(type(policy), faults)
    _check_values(policy, names)


def check_policy_class(policy_class: type, names: Sequence[str] = TRAINED) -> None:
    """Raise unless a class has those of ``names`` that are methods; its objects may have the others.

    Raises:
        PolicyError: as :func:`check_policy` does.
    """
    faults = _faults(policy_class, policy_class, [name for name in names if hasattr(TokenPolicy, name)])
    if faults:
        raise _error(policy_class, faults)


def _error(policy_class: type, faults: Sequence[str]) -> PolicyError:
    return PolicyError(
        f"policy: expected a TokenPolicy, got {policy_class.__name__}, which has {'; '.join(faults)}. "
        f"docs/own-policy.md shows a policy in full"
    )


def _faults(policy: object, policy_class: type, names: Sequence[str]) -> list[str]:
    """What ``policy`` lacks, and what of its class takes other arguments than it is called with."""
    lacking = [f"no {_described(name)}" for name in names if not hasattr(policy, name)]
    others = [
        f"{name}{inspect.signature(getattr(policy_class, name))} where {_described(name)} is called"
        for name in names
        if not _takes_the_call(policy_class, name)
    ]
    return lacking + others


def _takes_the_call(policy_class: type, name: str) -> bool:
    """Whether a method can be called as the protocol has it; what is no method of the class is not judged."""
    method, asked = getattr(policy_class, name, None), getattr(TokenPolicy, name, None)
    if not inspect.isfunction(method) or asked is None:
        return True
    parameters = list(inspect.signature(asked).parameters.values())
    required = [each for each in parameters if each.default is each.empty]
    try:
        inspect.signature(method).bind(
            *required, **{each.name: None for each in parameters if each not in required}
        )
    except TypeError:
        return False
    return True


def _check_values(policy: object, names: Sequence[str]) -> None:
    """Raise for an attribute that cannot work."""
    try:
        for name in ("chunk_steps", "num_features"):
            if name in names:
                check_positive_int(name, getattr(policy, name))
        check_positive_int("action_dim", action_dim(policy))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise PolicyError(f"policy: {type(policy).__name__}.{error}") from error
    if "cameras" in names:
        check_cameras(f"policy: {type(policy).__name__}.cameras", policy.cameras)  # type: ignore[attr-defined]


def check_cameras(what: str, cameras: object) -> tuple[PolicyCamera, ...]:
    """``cameras`` if it is a sequence of different cameras of one world, at least one, else raise.

    Raises:
        PolicyError: begins with ``what``.
    """
    known = [name for cameras_there in WORLDS.values() for name in cameras_there]
    chosen = tuple(cameras) if isinstance(cameras, (tuple, list)) else ()
    if not chosen or len(set(chosen)) < len(chosen) or any(name not in known for name in chosen):
        there = ", or of ".join(" and/or ".join(names) for names in WORLDS.values())
        raise PolicyError(f"{what}: expected a tuple of {there}, got {cameras!r}")
    world_of(chosen)
    return chosen


def _described(name: str) -> str:
    """A member of the protocol as it is written."""
    method = getattr(TokenPolicy, name, None)
    if method is None:
        return name
    parameters = list(inspect.signature(method).parameters.values())[1:]
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return f"{name}{inspect.Signature(bare)}"
