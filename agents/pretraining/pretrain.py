"""Pretraining: behaviour cloning of a TinyVLA from files of demonstrations, many tasks at once.

The loss is the cross-entropy of the demonstrated action tokens at temperature 1. A run writes to its folder:

- ``policy``: the trained policy;
- ``last.pt``: the state to resume from;
- ``metrics.jsonl``: the losses;
- ``config.json``: the settings.

Batch ``k`` and its learning rate are functions of the seed and ``k``. A resumed run therefore ends with the
same result as an uninterrupted one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from ttrl_env.agents.common.interrupts import StopRequest
from ttrl_env.agents.common.json_lines import append_record, read_records
from ttrl_env.agents.common.saved_tensors import DAMAGED, load_saved
from ttrl_env.agents.distributed.devices import choose_device, use_usable_cores
from ttrl_env.agents.distributed.processes import ALONE
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy
from ttrl_env.agents.policies.sharding import all_finite
from ttrl_env.agents.pretraining.config import PretrainConfig
from ttrl_env.agents.pretraining.data import Pairs, load_pairs
from ttrl_env.agents.pretraining.sources import Source, find_sources
from ttrl_env.demonstrations.origins import describe
from ttrl_env.errors import CheckpointError, ConfigError, TrainingDivergedError
from ttrl_env.libero_version import warn_of_another_version
from ttrl_env.machine.folder_lock import folder_lock
from ttrl_env.machine.whole_files import flush, naming, read_object, replacing, write_whole

WARMUP_FRACTION = 0.1
"""Fraction of the steps over which the learning rate rises."""

VALIDATION_BATCH = 256

POLICY, STATE, METRICS, CONFIG = "policy", "last.pt", "metrics.jsonl", "config.json"

Log = Callable[[str], None]


@dataclass
class PretrainingState:
    """Progress of a run."""

    step: int = 0
    """Number of optimiser steps made."""
    best_loss: float = math.inf
    """Lowest validation loss so far, nats a token."""
    stale: int = 0
    """Validations since the lowest loss."""
    train_losses: list[float] = field(default_factory=list)
    """Training losses since the last validation, nats a token."""
    stopped_early: bool = False
    """Whether the run stopped because of ``patience``."""


def pretrain(
    config: PretrainConfig, *, say: Log, progress: Callable[[int, int], None] | None = None
) -> PretrainingState:
    """Train as configured and leave the policy in ``output_dir/policy``.

    Raises:
        CheckpointError: ``output_dir`` contains a damaged run, or one with another configuration or other
            demonstrations.
        ConfigError: the demonstrations do not fit the configuration, or another process is writing to
            ``output_dir``.
        TrainingDivergedError: the loss or the weights are NaN or infinite; they are not saved.
        OSError: a file cannot be written; the message names it.
    """
    with folder_lock(config.output_dir, "output_dir"):
        return _pretrain(config, say, progress)


def _pretrain(
    config: PretrainConfig, say: Log, progress: Callable[[int, int], None] | None
) -> PretrainingState:
    output = Path(config.output_dir)
    _refuse_another_folder(output)
    use_usable_cores()
    torch.manual_seed(config.seed)
    policy = new_policy(config)
    sources = find_sources(config.data)
    train_pairs, validation_pairs = load_pairs(config, sources, policy, say)
    policy.config.demonstrations = _describe(sources, config.max_episodes)
    nn.Module.to(policy, choose_device(config.device, "device"))
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    settings = {**_settings(config), _DEMONSTRATIONS: _digest([train_pairs, validation_pairs])}
    state = _resume(output, config, settings, policy, optimizer)
    with StopRequest(_STOPPING) as stop:
        while state.step < config.steps and not state.stopped_early and not stop.requested:
            state.train_losses.append(_train_step(policy, optimizer, train_pairs, config, state.step))
            state.step += 1
            if progress is not None:
                progress(state.step, config.steps)
            if state.step % config.validate_every == 0 or state.step == config.steps:
                _validate(output, config, policy, optimizer, validation_pairs, state, say)
    if stop.requested:
        raise KeyboardInterrupt
    return state


def _describe(sources: Sequence[Source], max_episodes: int | None) -> list[dict[str, Any]]:
    """Description of the demonstrations. Warns of those recorded with another version of LIBERO."""
    described = []
    for source in sources:
        entries = describe(source.origins(max_episodes))
        for entry in entries:
            warn_of_another_version(f"data: {source.name}", entry["mujoco"])
        described += entries
    return described


def new_policy(config: PretrainConfig) -> TinyVLA:
    """A TinyVLA of the configured shape, with weights from torch's global random generator."""
    return TinyVLA(TinyVLAConfig(**asdict(config.policy)))


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warm-up, then half a cosine down to zero."""
    warmup = max(int(WARMUP_FRACTION * config.steps), 1)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    rest = (step - warmup) / max(config.steps - warmup, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * rest))


def _train_step(
    policy: TokenPolicy, optimizer: torch.optim.Optimizer, pairs: Pairs, config: PretrainConfig, step: int
) -> float:
    rng = np.random.default_rng([config.seed, step])
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    loss = token_loss(policy, pairs, rng.integers(len(pairs), size=config.batch_size))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(list(policy.parameters()), config.max_grad_norm)
    optimizer.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise _diverged(f"step {step + 1}: the loss is {value}", config)
    return value


def _diverged(reason: str, config: PretrainConfig) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"{reason}. The policy in {config.output_dir}, if any, is from an earlier validation; begin anew "
        f"with a lower learning_rate (resume=false)"
    )


def token_loss(policy: TokenPolicy, pairs: Pairs, rows: Any) -> torch.Tensor:
    """Mean negative log-probability, in nats a token, of the demonstrated tokens in ``rows``."""
    inputs, tokens = pairs[torch.as_tensor(rows)]
    return -policy.evaluate(inputs, tokens, torch.ones(len(tokens))).logprobs.mean()


@torch.no_grad()
def validation_loss(policy: TokenPolicy, pairs: Pairs) -> float:
    """Mean loss over all pairs, in nats a token."""
    total = 0.0
    for start in range(0, len(pairs), VALIDATION_BATCH):
        rows = np.arange(start, min(start + VALIDATION_BATCH, len(pairs)))
        total += float(token_loss(policy, pairs, rows)) * len(rows)
    return total / len(pairs)


def _validate(
    output: Path,
    config: PretrainConfig,
    policy: TinyVLA,
    optimizer: torch.optim.Optimizer,
    pairs: Pairs,
    state: PretrainingState,
    say: Log,
) -> None:
    """Measure the loss, save the policy if it is to be kept, and save the state to resume from.

    The state is saved last. A run that is killed before that resumes from the previous validation, and
    replaces the record of this one.
    """
    loss = validation_loss(policy, pairs) if len(pairs) else float(np.mean(state.train_losses))
    if not (math.isfinite(loss) and all_finite(policy, ALONE)):
        raise _diverged(f"step {state.step}: the weights are NaN or infinite", config)
    better = loss < state.best_loss
    state.best_loss = min(state.best_loss, loss)
    state.stale = 0 if better else state.stale + 1
    state.stopped_early = bool(config.patience) and state.stale >= config.patience
    record = {"step": state.step, "train_loss": float(np.mean(state.train_losses)), "validation_loss": loss}
    state.train_losses.clear()
    say(
        f"step {state.step:6d}  training {record['train_loss']:.3f}  validation {loss:.3f} nats a token"
        + ("  (best)" if better else "")
    )
    append_record(output / METRICS, record)
    if better or config.keep == "last":
        _save_policy(output / POLICY, policy)
    _save_state(output, policy, optimizer, state)


def _save_policy(folder: Path, policy: TinyVLA) -> None:
    """Replace the saved policy; the old one is removed only once the new one is complete."""
    draft, old = folder.with_name(".policy_draft"), folder.with_name(_OLD_POLICY)
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    with _named(draft):
        policy.save_pretrained(draft)
        for file in draft.iterdir():
            flush(file)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _save_state(
    output: Path, policy: TinyVLA, optimizer: torch.optim.Optimizer, state: PretrainingState
) -> None:
    content = {"state": asdict(state), "policy": policy.state_dict(), "optimizer": optimizer.state_dict()}
    with _named(output / STATE), replacing(output / STATE) as draft:
        torch.save(content, draft)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Turn errors of torch and safetensors about writing ``file`` into an ``OSError`` that names it."""
    try:
        with naming(file):
            yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(errno.EIO, f"cannot be written ({error})", str(file)) from error


def _resume(
    output: Path,
    config: PretrainConfig,
    settings: dict[str, Any],
    policy: TinyVLA,
    optimizer: torch.optim.Optimizer,
) -> PretrainingState:
    """Restore the state in ``output``, or begin a run with ``settings`` there."""
    state_file = output / STATE
    if config.resume and state_file.is_file():
        _check_settings(output, settings)
        state = _restore(state_file, policy, optimizer)
        if not (output / POLICY).exists() and (output / _OLD_POLICY).is_dir():
            (output / _OLD_POLICY).rename(output / POLICY)  # killed while the policy was replaced
        _cut_records(output / METRICS, state.step)
        return state
    for leftover in (STATE, METRICS):
        (output / leftover).unlink(missing_ok=True)
    write_whole(output / CONFIG, json.dumps(settings, indent=1) + "\n")
    return PretrainingState()


def _refuse_another_folder(output: Path) -> None:
    """Raise if the run would overwrite files in ``output`` that are no pretraining run's."""
    there = [name for name in (POLICY, STATE, METRICS, CONFIG) if (output / name).exists()]
    if there and not _is_pretraining(output / CONFIG):
        raise ConfigError(
            f"output_dir: {output} holds {', '.join(there)} of something else than a pretraining run; choose "
            f"another folder"
        )


def _is_pretraining(file: Path) -> bool:
    """Whether a ``config.json`` is a pretraining run's, or a damaged one beside a state to resume from."""
    if not file.is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return (file.parent / STATE).is_file()
    return isinstance(content, dict) and {"data", "steps"} <= content.keys()


def _settings(config: PretrainConfig) -> dict[str, Any]:
    """The settings that must not change when a run is resumed, as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return {key: value for key, value in plain.items() if key not in _FREE}


def _check_settings(output: Path, settings: dict[str, Any]) -> None:
    """Raise unless the run in ``output`` has these settings and demonstrations."""
    found = read_object(output / CONFIG, _ANEW)
    different = sorted(key for key in settings if key != _DEMONSTRATIONS and found.get(key) != settings[key])
    if different:
        raise CheckpointError(
            f"output_dir: {output} holds a run with other values of {', '.join(different)}; choose "
            f"another folder, or resume=false to begin anew there"
        )
    # runs of earlier versions have no digest of their demonstrations
    if found.get(_DEMONSTRATIONS, settings[_DEMONSTRATIONS]) != settings[_DEMONSTRATIONS]:
        raise CheckpointError(
            f"data: the demonstrations are not those that the run in {output} read: files have been changed, "
            f"added or removed since. Choose another folder, or {_ANEW}"
        )


def _restore(file: Path, policy: TinyVLA, optimizer: torch.optim.Optimizer) -> PretrainingState:
    saved = load_saved(file, _ANEW)
    try:
        policy.load_state_dict(saved["policy"])
        optimizer.load_state_dict(saved["optimizer"])
        return PretrainingState(**saved["state"])
    except DAMAGED as error:
        raise CheckpointError(
            f"{file} is not a state from which a run can be resumed ({error}); {_ANEW}"
        ) from error


def _cut_records(file: Path, step: int) -> None:
    """Remove the records of steps that will be repeated."""
    records = read_records(file, integers=["step"]) if file.is_file() else []
    kept = [record for record in records if record["step"] <= step]
    write_whole(file, "".join(json.dumps(record) + "\n" for record in kept))


def _digest(parts: Iterable[Pairs]) -> str:
    """Digest of all inputs and tokens, which detects changed demonstrations."""
    digest = hashlib.sha256()
    for pairs in parts:
        for tensor in (*(pairs.inputs[key] for key in sorted(pairs.inputs)), pairs.tokens):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


_FREE = ("output_dir", "resume", "device", "patience")
"""Keys that may change when a run is resumed."""

_DEMONSTRATIONS = "demonstrations"
"""Key of ``config.json`` for the digest of the demonstrations."""

_OLD_POLICY = ".policy_old"

_ANEW = "resume=false begins anew"

_STOPPING = "Stopping after this step. The same command goes on from the last validation."
