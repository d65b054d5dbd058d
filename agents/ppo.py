"""The policy update: PPO on the chunks a rollout executed, each at its row's temperature."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ttrl_env.agents.advantages import AdvantageScale, group_advantage
from ttrl_env.agents.configs import PPOConfig
from ttrl_env.agents.losses import LossDiagnostics, clipped_policy_loss, token_weights
from ttrl_env.agents.policies import TokenPolicy
from ttrl_env.agents.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What one update did."""

    first: LossDiagnostics | None
    """Diagnostics before the first optimiser step (ratio 1, KL 0); ``None`` if nothing was to learn."""
    last: LossDiagnostics | None
    """Diagnostics at the last optimiser step."""
    logprob_difference: float
    """Largest |rollout - update| log-probability difference before the first step, nats."""
    grad_norm: float
    """Largest gradient norm before clipping."""
    steps: int
    """Optimiser steps taken."""
    skipped_steps: int
    """Optimiser steps left out because loss or gradient was not finite."""
    dropped_groups: int
    """Groups without reward variance: no gradient, so not computed."""
    seconds: float
    """Wall time."""


class PPOAgent:
    """Owns the optimiser of a policy.

    Old log-probabilities are computed once before the first step, on the same micro-batches as the
    update and at the temperature each row was sampled at, so that the ratio of the first step is
    exactly 1; the rollout's own log-probabilities serve to report the difference.
    """

    def __init__(self, policy: TokenPolicy, config: PPOConfig) -> None:
        self.policy = policy
        self.config = config
        self.optimizer = torch.optim.AdamW(
            policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, (step + 1) / (config.warmup_steps + 1))
        )

    def state_dict(self) -> dict[str, Any]:
        """What continuing exactly needs, apart from the policy's weights."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def update(self, rollout: Rollout, seed: int | list[int] = 0) -> UpdateReport:
        """Train on every trajectory of a rollout, each with its own reward; ``seed`` shuffles minibatches."""
        started = time.perf_counter()
        scale = cast(AdvantageScale, self.config.advantage_scale)
        advantages = group_advantage(rollout.rewards, rollout.groups, scale)
        rng = np.random.default_rng(seed)
        minibatches = self._minibatches(rollout, advantages, rng)
        difference = self._compute_old_logprobs(minibatches)
        diagnostics: list[LossDiagnostics] = []
        norms: list[float] = []
        skipped = 0
        for _ in range(self.config.epochs):
            for index in rng.permutation(len(minibatches)):
                step_diagnostics, norm = self._step(minibatches[index])
                diagnostics.extend(step_diagnostics)
                norms.append(norm)
                skipped += not math.isfinite(norm)
        varied = {group for group, advantage in zip(rollout.groups, advantages, strict=True) if advantage}
        return UpdateReport(
            first=diagnostics[0] if diagnostics else None,
            last=diagnostics[-1] if diagnostics else None,
            logprob_difference=difference,
            grad_norm=max(norms, default=0.0),
            steps=len(norms) - skipped,
            skipped_steps=skipped,
            dropped_groups=len(set(rollout.groups.tolist())) - len(varied),
            seconds=time.perf_counter() - started,
        )

    def _minibatches(
        self, rollout: Rollout, advantages: np.ndarray, rng: np.random.Generator
    ) -> list[list[_MicroBatch]]:
        """Trajectories with an advantage in random minibatches, their chunks in micro-batches."""
        learning = rng.permutation(np.flatnonzero(advantages))
        size = self.config.minibatch_trajectories or max(len(learning), 1)
        minibatches = []
        for start in range(0, len(learning), size):
            members = torch.from_numpy(learning[start : start + size])
            chunks = torch.isin(rollout.trajectory, members).nonzero()[:, 0]
            weights = token_weights(rollout.mask[chunks], rollout.trajectory[chunks], len(members))
            micro_batches = zip(
                chunks.split(self.config.micro_batch_chunks),
                weights.split(self.config.micro_batch_chunks),
                strict=True,
            )
            minibatches.append([_MicroBatch(rollout, advantages, *parts) for parts in micro_batches])
        return minibatches

    @torch.no_grad()
    def _compute_old_logprobs(self, minibatches: list[list[_MicroBatch]]) -> float:
        difference = 0.0
        for batch in _flat(minibatches):
            batch.old_logprobs, _ = self._logprobs(batch)
            error = (batch.old_logprobs.cpu() - batch.rollout_logprobs).abs()
            difference = max(difference, float(error[batch.weights > 0].max()))
        return difference

    def _step(self, minibatch: list[_MicroBatch]) -> tuple[list[LossDiagnostics], float]:
        """One optimiser step; skipped, and the norm not finite, when the gradient is not."""
        self.optimizer.zero_grad(set_to_none=True)
        diagnostics = []
        for batch in minibatch:
            logprobs, entropies = self._logprobs(batch)
            loss, report = clipped_policy_loss(
                logprobs,
                batch.old_logprobs,
                entropies,
                batch.advantages.to(logprobs.device),
                batch.weights.to(logprobs.device),
                clip_low=self.config.clip_low,
                clip_high=self.config.clip_high,
                entropy_coef=self.config.entropy_coef,
            )
            loss.backward()
            diagnostics.append(report)
        norm = float(torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self.schedule.step()
        return diagnostics, norm

    def _logprobs(self, batch: _MicroBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies ``[M, K]`` at the temperatures the rows were sampled at."""
        evaluation = self.policy.evaluate(batch.inputs, batch.tokens, batch.temperatures)
        return evaluation.logprobs, evaluation.entropies


class _MicroBatch:
    """The chunks of one forward and backward pass."""

    def __init__(self, rollout: Rollout, advantages: np.ndarray, chunks: Tensor, weights: Tensor) -> None:
        trajectory = rollout.trajectory[chunks]
        self.inputs = {key: tensor[chunks] for key, tensor in rollout.inputs.items()}
        self.tokens = rollout.tokens[chunks]
        self.rollout_logprobs = rollout.logprobs[chunks]
        self.temperatures = rollout.temperatures[trajectory]
        self.advantages = torch.from_numpy(advantages).float()[trajectory]
        self.weights = weights
        self.old_logprobs: Tensor


def _flat(minibatches: list[list[_MicroBatch]]) -> Iterator[_MicroBatch]:
    for minibatch in minibatches:
        yield from minibatch
