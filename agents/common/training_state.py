"""The state of a training run that its checkpoints carry as ``state.json``, besides weights and optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.errors import CheckpointError

STATE_FILE = "state.json"

_KINDS = {int: "an integer from 0 to 2147483647", dict: "an object"}


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What ``state.json`` holds."""

    iteration: int
    """Iterations completed."""
    groups_dealt: int
    """Groups played so far, those included that no update learnt from."""
    reference: str | None
    """Fingerprint of the policy that ``ppo.kl_coef`` measures the distance to, if it is kept as a copy."""
    config: dict[str, Any]
    """The resolved configuration."""
    versions: dict[str, str]
    """Versions of the packages that results depend on."""


def read_state(checkpoint: Path) -> TrainingState:
    """Iteration, configuration and versions of a checkpoint.

    Raises:
        CheckpointError: its ``state.json`` is missing, damaged or not what training writes.
    """
    content = read_own_json(checkpoint, STATE_FILE, "checkpoint")
    try:
        state = TrainingState(**content)
    except TypeError as error:
        raise CheckpointError(f"{checkpoint / STATE_FILE} cannot be read: {error}") from error
    kinds = {"iteration": int, "groups_dealt": int, "config": dict, "versions": dict}
    for name, kind in kinds.items():
        value = getattr(state, name)
        if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**31):
            raise CheckpointError(
                f"{checkpoint / STATE_FILE}: {name}: expected {_KINDS[kind]}, got {value!r:.80}"
            )
    return state
