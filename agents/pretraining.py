"""Pretraining: behaviour cloning of a TinyVLA from files of demonstrations, many tasks at once.

The loss is the cross-entropy of the demonstrated action tokens at temperature 1. A run keeps, in its
folder, ``policy`` (what is left of it), ``last.pt`` (what is needed to go on), ``metrics.jsonl`` and
``config.json``. Batch ``k`` and the step size are functions of the seed and ``k``, so an interrupted run
that goes on ends as an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ttrl_env.agents.demonstrations.reading import describe_files, find_files
from ttrl_env.agents.devices import choose_device
from ttrl_env.agents.interrupts import StopRequest
from ttrl_env.agents.policies import TinyVLA, TinyVLAConfig, TokenPolicy
from ttrl_env.agents.pretraining_config import PretrainConfig
from ttrl_env.agents.pretraining_data import Pairs, load_pairs
from ttrl_env.errors import CheckpointError
from ttrl_env.world import warn_of_another_world

WARMUP_FRACTION = 0.1
"""Share of the steps over which the step size rises."""

VALIDATION_BATCH = 256

POLICY, STATE, METRICS, CONFIG = "policy", "last.pt", "metrics.jsonl", "config.json"

Log = Callable[[str], None]


@dataclass
class PretrainingState:
    """How far a run has come."""

    step: int = 0
    """Optimiser steps made."""
    best_loss: float = math.inf
    """Lowest validation loss so far, nats a token."""
    stale: int = 0
    """Validations since then."""
    train_losses: list[float] = field(default_factory=list)
    """Losses since the last validation."""
    stopped_early: bool = False
    """Whether patience ran out."""


def pretrain(
    config: PretrainConfig, *, say: Log, progress: Callable[[int, int], None] | None = None
) -> PretrainingState:
    """Train as configured and leave the policy in ``output_dir/policy``.

    Raises:
        CheckpointError: ``output_dir`` holds a run of another configuration.
        ConfigError: the demonstrations do not fit the configuration.
    """
    output = Path(config.output_dir)
    torch.manual_seed(config.seed)
    policy = new_policy(config)
    train_pairs, validation_pairs = load_pairs(config, policy, say)
    policy.config.demonstrations = _describe(config)
    nn.Module.to(policy, choose_device(config.device, "device"))
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = _resume(output, config, policy, optimizer)
    with StopRequest() as stop:
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


def _describe(config: PretrainConfig) -> list[dict[str, Any]]:
    """What the policy is cloned from; a file of another world than the installed one is warned of."""
    files = find_files(config.data)
    described = describe_files(files, config.max_episodes)
    for file, entry in zip(files, described, strict=True):
        warn_of_another_world(f"data: {file}", entry["mujoco"])
    return described


def new_policy(config: PretrainConfig) -> TinyVLA:
    """A TinyVLA of the configured shape, its weights drawn from torch's random numbers."""
    return TinyVLA(TinyVLAConfig(**asdict(config.policy)))


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Step size of step ``step`` (counted from 0): linear warm-up, then half a cosine down to zero."""
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
    return float(loss.detach())


def token_loss(policy: TokenPolicy, pairs: Pairs, rows: Any) -> torch.Tensor:
    """Mean negative log-probability, nats a token, of the demonstrated tokens of some pairs."""
    inputs, tokens = pairs[torch.as_tensor(rows)]
    return -policy.evaluate(inputs, tokens, torch.ones(len(tokens))).logprobs.mean()


@torch.no_grad()
def validation_loss(policy: TokenPolicy, pairs: Pairs) -> float:
    """Mean loss over all pairs, nats a token."""
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
    """Measure, keep the policy if it is the one to keep, and save what is needed to go on."""
    loss = validation_loss(policy, pairs) if len(pairs) else float(np.mean(state.train_losses))
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
    if better or config.keep == "last":
        _save_policy(output / POLICY, policy)
    _save_state(output, policy, optimizer, state)
    with (output / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _save_policy(folder: Path, policy: TinyVLA) -> None:
    """Replace the kept policy by another, which is complete before the old one goes."""
    draft, old = folder.with_name(".policy_draft"), folder.with_name(".policy_old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    policy.save_pretrained(draft)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _save_state(
    output: Path, policy: TinyVLA, optimizer: torch.optim.Optimizer, state: PretrainingState
) -> None:
    draft = output / f".{STATE}.draft"
    torch.save(
        {"state": asdict(state), "policy": policy.state_dict(), "optimizer": optimizer.state_dict()}, draft
    )
    os.replace(draft, output / STATE)


def _resume(
    output: Path, config: PretrainConfig, policy: TinyVLA, optimizer: torch.optim.Optimizer
) -> PretrainingState:
    """Restore the state that ``output`` holds, or begin a run there."""
    plain = json.loads(json.dumps({key: asdict(config)[key] for key in asdict(config) if key not in _FREE}))
    config_file, state_file = output / CONFIG, output / STATE
    if config.resume and state_file.is_file():
        found = json.loads(config_file.read_text(encoding="utf-8"))
        different = sorted(key for key in plain if found.get(key) != plain[key])
        if different:
            raise CheckpointError(
                f"output_dir: {output} holds a run with other values of {', '.join(different)}; choose "
                f"another folder, or resume=false to begin anew there"
            )
        saved = torch.load(state_file, map_location="cpu", weights_only=True)
        policy.load_state_dict(saved["policy"])
        optimizer.load_state_dict(saved["optimizer"])
        return PretrainingState(**saved["state"])
    output.mkdir(parents=True, exist_ok=True)
    for leftover in (STATE, METRICS):
        (output / leftover).unlink(missing_ok=True)
    config_file.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    return PretrainingState()


_FREE = ("output_dir", "resume", "device", "patience")
"""Keys that may differ when a run goes on."""
