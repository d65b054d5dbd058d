"""Resuming a run: the checkpoint, the configuration, and the keys that may change."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttrl_env.agents.common.run_folder import find_checkpoint, iteration_of, list_checkpoints
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.config.schema_fields import walk_values
from ttrl_env.errors import CheckpointError

_SHAPE = "the policy of the checkpoint is made with it"

_COURSE = "what the run has trained on would no longer be known"

_FIXED = {
    "preset": "a run keeps the values of its preset; give the keys that are to change",
    "seed": "every random number of the run follows from it",
    "env.suite": _COURSE,
    "env.task_ids": _COURSE,
    "policy.path": "the policy is that of the checkpoint, not the one the run started from",
    "policy.image_size": _SHAPE,
    "policy.hidden_size": _SHAPE,
    "policy.chunk_steps": _SHAPE,
    "policy.openvla.decoding": _SHAPE,
    "policy.openvla.unnorm_key": _SHAPE,
    "policy.openvla.lora_rank": _SHAPE,
    "policy.openvla.lora_alpha": _SHAPE,
    "ppo.gae.value_hidden_size": "the value head of the checkpoint is made with it",
    "ppo.critic.hidden_size": "the critic of the checkpoint is made with it",
    "ppo.critic.privileged_state": "the critic of the checkpoint is made with it",
}
"""Keys that a resumed run cannot change, and the reasons."""

_UNCOMPARED = ("resume", "output_dir")
"""Keys that name the run or the checkpoint; they may differ."""


def values_to_resume(config: TrainConfig) -> dict[str, Any]:
    """The values, by key, of the run that ``config.resume`` names; empty if there is no run yet.

    ``output_dir`` is the checkpoint's current place, even if the run was moved after it was saved.
    """
    checkpoint = checkpoint_to_resume(config)
    if checkpoint is None:
        return {}
    with offering_the_one_before(checkpoint):
        saved = saved_config(checkpoint)
    values = {key: value for key, value in walk_values(saved) if key not in _UNCOMPARED}
    if checkpoint.parent.name == "checkpoints" and config.resume != "auto":
        values["output_dir"] = str(checkpoint.parents[1])
    return values


def checkpoint_to_resume(config: TrainConfig) -> Path | None:
    """The checkpoint that ``config.resume``, which is set, names; ``None``: "auto" and no run yet."""
    assert config.resume is not None
    if config.resume == "auto":
        return next(reversed(list_checkpoints(config.output_dir)), None)
    return find_checkpoint(config.resume)


def changes_on_resuming(checkpoint: Path, config: TrainConfig) -> list[str]:
    """A line for each key whose value differs from that of the run of ``checkpoint``.

    Raises:
        CheckpointError: a key differs that a resumed run cannot change.
    """
    with offering_the_one_before(checkpoint):
        saved = dict(walk_values(saved_config(checkpoint)))
    changed = {
        key: (saved[key], value)
        for key, value in walk_values(config)
        if key not in _UNCOMPARED and _plain(saved[key]) != _plain(value)
    }
    refused = [
        f"{key}: the run of {checkpoint} has {_shown(old)}, got {_shown(new)}: {reason}"
        for key, (old, new) in changed.items()
        if (reason := _why_fixed(key, old, new, config)) is not None
    ]
    if refused:
        raise CheckpointError(
            "\n  ".join(
                [
                    "keys that cannot change when a run goes on (leave them out, or start another run in "
                    "another output_dir):",
                    *refused,
                ]
            )
        )
    return [f"{key}: {_shown(new)} from here on, {_shown(old)} so far" for key, (old, new) in changed.items()]


@contextmanager
def offering_the_one_before(checkpoint: Path | None) -> Iterator[None]:
    """Add to an error about a checkpoint the command that resumes from the previous one."""
    try:
        yield
    except CheckpointError as error:
        before = None if checkpoint is None else checkpoint_before(checkpoint)
        if before is None:
            raise
        raise CheckpointError(
            f"{error}\nIf {checkpoint} is damaged, go on from the one before it: {resume_argument(before)}"
        ) from error


def checkpoint_before(checkpoint: Path) -> Path | None:
    """The checkpoint of the same run that is the one before; ``None`` if there is none."""
    run = list_checkpoints(checkpoint.parent.parent)
    return max((path for path in run if path.name < checkpoint.name), key=iteration_of, default=None)


def resume_argument(checkpoint: Path) -> str:
    """The command-line argument that resumes from a checkpoint, quoted for the shell."""
    return shlex.quote(f"resume={checkpoint}")


def _why_fixed(key: str, old: Any, new: Any, config: TrainConfig) -> str | None:
    """The reason why a key cannot change; ``None`` if it can."""
    if key == "policy.path" and config.ppo.kl_coef > 0:
        return None  # the reference may have moved; its fingerprint is compared
    if key.startswith(("ppo.gae.", "ppo.critic.")) and key.split(".")[1] != config.ppo.advantage:
        return None  # the run does not use it
    if key == "ppo.advantage" and {"gae", "critic"} & {old, new}:
        return "gae has a value head, critic has a critic, the others have neither"
    return _FIXED.get(key)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "null" if value is None else str(_plain(value))
