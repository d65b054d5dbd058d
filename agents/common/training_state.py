"""The state of a training run in a checkpoint's ``state.json``: all but weights and optimiser."""

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
    """The content of ``state.json``."""

    iteration: int
    """Number of completed iterations."""
    groups_dealt: int
    """Number of groups played so far, including those that no update used."""
    reference: str | None
    """Fingerprint of the KL reference policy (``ppo.kl_coef``), if it is kept as a copy."""
    config: dict[str, Any]
    """The resolved configuration."""
    versions: dict[str, str]
    """Versions of the packages that results depend on."""
    outcomes: dict[str, Any] | None = None
    """How episodes have ended (:class:`ttrl_env.agents.rollout.state_outcomes.StateOutcomes`); ``None`` if
    ``rollout.states`` does not depend on it."""


def read_state(checkpoint: Path) -> TrainingState:
    """Read a checkpoint's ``state.json``.

    Raises:
        CheckpointError: the file is missing, damaged or not in the format that training writes.
    """
    content = read_own_json(checkpoint, STATE_FILE, "checkpoint")
    try:
        state = TrainingState(**content)
    except TypeError as error:
        raise CheckpointError(f"{checkpoint / STATE_FILE} cannot be read: {error}") from error
    kinds = {"iteration": int, "groups_dealt": int, "config": dict, "versions": dict}
    if state.outcomes is not None:
        kinds["outcomes"] = dict
    for name, kind in kinds.items():
        value = getattr(state, name)
        if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**31):
            raise CheckpointError(
                f"{checkpoint / STATE_FILE}: {name}: expected {_KINDS[kind]}, got {value!r:.80}"
            )
    return state
