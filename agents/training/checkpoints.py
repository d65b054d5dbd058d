"""Training checkpoints, written atomically, from which a run continues exactly.

A checkpoint is a folder ``checkpoints/iteration_000010`` in the run's folder. It holds ``policy/`` (config,
safetensors weights or adapter, and a model card; loadable on its own), ``agent.pt`` (optimiser, step-size
schedule, value head) and ``state.json`` (:class:`TrainingState`). No random state is stored: the run's seed
and the iteration's number seed its random numbers. A group's task and initial state follow from the number of
groups dealt before, and from the outcomes of earlier episodes if ``rollout.states`` asks for it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ttrl_env.agents.common.checkpoint_files import own_file
from ttrl_env.agents.common.json_lines import read_records
from ttrl_env.agents.common.run_folder import iteration_of, list_checkpoints
from ttrl_env.agents.common.saved_tensors import DAMAGED, load_saved
from ttrl_env.agents.common.training_state import STATE_FILE, TrainingState, read_state
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.evaluation.reports.measured import measured_in_training
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.policies.conformance import check_policy
from ttrl_env.agents.policies.model_card import Measured, write_model_card
from ttrl_env.agents.policies.sharding import all_finite, whole, whole_weights
from ttrl_env.agents.training.metrics import EVALUATIONS_FILE
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.errors import CheckpointError, TrainingDivergedError
from ttrl_env.machine.whole_files import flush

AGENT_FILE = "agent.pt"

_DRAFT = ".draft_"


def save_checkpoint(
    output_dir: str | Path, policy: TokenPolicy, agent: PPOAgent, state: TrainingState, *, keep: int
) -> Path:
    """Write the checkpoint of ``state.iteration`` and delete all but the last ``keep`` up to it.

    With several processes the first writes whole tensors, and the others wait. Any number of processes can
    resume from the checkpoint.

    Everything is written to a hidden folder that is renamed at the end. So after a killed process or on a
    full disk the earlier checkpoints are unchanged. The next call removes an unfinished folder.

    The run may have resumed from an earlier checkpoint. Then the new checkpoint replaces those of this
    iteration and of later ones, which are of the abandoned course.

    Raises:
        TrainingDivergedError: a weight is NaN or infinite; nothing is written.
        CheckpointError: the checkpoint cannot be written. The earlier ones are unchanged.
    """
    check_policy(policy, ("save_pretrained",))
    world = agent.lockstep.world
    target = Path(output_dir) / "checkpoints" / f"iteration_{state.iteration:06d}"
    if not all_finite(policy, world):
        raise TrainingDivergedError(
            "the policy's weights are NaN or infinite and are not saved. Go on from an earlier checkpoint "
            "with a lower ppo.learning_rate"
        )
    content = _Content(policy, whole_weights(policy, world), whole(agent.state_dict(), world), state)
    world.on_main(lambda: _replace(target, content, keep))
    return target


def drop_later(output_dir: str | Path, iteration: int) -> None:
    """Remove the checkpoints after ``iteration``, from which a run resumes: their course is abandoned.

    The last one is removed first. So if the process is killed, the remaining ones are still of one course.

    Raises:
        CheckpointError: a checkpoint cannot be removed.
    """
    for path in reversed(list_checkpoints(output_dir)):
        if iteration_of(path) <= iteration:
            return
        try:
            left = _set_aside(path)
        except OSError as error:
            raise CheckpointError(
                f"{path} is later than iteration {iteration}, from which the run resumes, and cannot be "
                f"removed ({error}). Remove it, or choose another output_dir"
            ) from error
        _try_to_remove(left)


def evaluated_in_run(checkpoint: Path, state: TrainingState) -> list[Measured]:
    """The evaluation of a checkpoint's policy that its run has recorded, for the model card."""
    file = checkpoint.parents[1] / EVALUATIONS_FILE
    records = read_records(file, integers=["iteration"]) if file.is_file() else []
    return measured_in_training(records, state.iteration, state.versions)


def require_finite(policy: TokenPolicy, source: Path | str | None, world: World) -> None:
    """Raise :class:`CheckpointError` if a weight of the policy loaded from ``source`` is NaN or infinite."""
    if not all_finite(policy, world):
        raise CheckpointError(f"the weights of the policy in {source} are NaN or infinite")


def restore_agent(checkpoint: Path, agent: PPOAgent) -> None:
    """Load optimiser, schedule and value head from a checkpoint.

    Raises:
        CheckpointError: the file is damaged, has tensors that are NaN or infinite, or does not fit the
            policy or configuration; or the run started from another reference policy.
    """
    file = own_file(checkpoint, AGENT_FILE, "checkpoint")
    # several processes map the file instead of reading it, because each needs only its slices
    world = agent.lockstep.world
    saved = load_saved(file, "go on from another checkpoint", mapped=not world.alone)
    if not world.on_main(lambda: _are_finite(saved)):
        raise CheckpointError(f"{file}: it has numbers that are NaN or infinite")
    try:
        agent.load_state_dict(saved)
    except DAMAGED as error:
        raise CheckpointError(f"{file} does not fit this policy and configuration: {error}") from error
    started_from = read_state(checkpoint).reference
    if started_from is not None and agent.reference_fingerprint not in (None, started_from):
        raise CheckpointError(
            f"policy.path: not the policy that the run of {checkpoint} started from, which ppo.kl_coef "
            f"needs as its reference. Put that one back, or start a new run"
        )


def _are_finite(value: Any) -> bool:
    """Whether all tensors of a nested state are finite numbers."""
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all())
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return all(_are_finite(part) for part in parts)


@dataclass(frozen=True)
class _Content:
    """The content of a checkpoint."""

    policy: TokenPolicy
    weights: dict[str, Tensor] | None
    """The policy's whole weights, if it is sharded; else ``None``."""
    agent: dict[str, Any]
    state: TrainingState


def _replace(target: Path, content: _Content, keep: int) -> None:
    """Write a checkpoint to a draft folder, rename it to ``target``, then delete old ones and later ones."""
    folder = target.parent
    for leftover in folder.glob(f"{_DRAFT}*"):
        _try_to_remove(leftover)
    draft = folder / f"{_DRAFT}{os.getpid()}"
    try:
        _write(draft, content)
        if target.is_dir():
            _set_aside(target)
        draft.rename(target)
        flush(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(_not_written(target, error)) from error
    existing = list_checkpoints(folder.parent)
    earlier = [path for path in existing if iteration_of(path) <= content.state.iteration]
    left = [path for path in existing if iteration_of(path) > content.state.iteration]
    for path in [*earlier[:-keep], *left, *folder.glob(f"{_DRAFT}*")]:
        _try_to_remove(path)


def _set_aside(path: Path) -> Path:
    """Move a checkpoint, or a link to one, atomically into a hidden folder; returns that folder."""
    place = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=path.parent))
    path.rename(place / path.name)
    return place


def _try_to_remove(path: Path) -> None:
    """Remove an old checkpoint or draft; warn if that fails, because the new one is already written.

    The target of a link is not removed.
    """
    try:
        shutil.rmtree(_set_aside(path))
    except OSError as error:
        warnings.warn(f"{path} is not needed any more and cannot be removed: {error}", stacklevel=2)


def _write(draft: Path, content: _Content) -> None:
    """Write every file of a checkpoint and wait until they are on the disk."""
    draft.mkdir(parents=True)
    content.policy.save_pretrained(draft / "policy", state_dict=content.weights)
    torch.save(content.agent, draft / AGENT_FILE)
    (draft / STATE_FILE).write_text(json.dumps(asdict(content.state), indent=1), encoding="utf-8")
    write_model_card(draft / "policy", evaluated_in_run(draft, content.state))
    for file in draft.rglob("*"):
        flush(file)


def _not_written(target: Path, error: Exception) -> str:
    """Error text with the cause and the last intact checkpoint."""
    earlier = list_checkpoints(target.parent.parent)
    kept = (
        f"{earlier[-1]} is whole: continue with resume={earlier[-1]}"
        if earlier
        else "there is no earlier one"
    )
    return (
        f"{target} could not be written ({error}); {kept}. Is the disk full? (keep_checkpoints, output_dir)"
    )
