"""The policy update: PPO on the chunks a rollout executed, each at its row's temperature."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.distributed.processes import ALONE, World
from ttrl_env.agents.policies import TokenEvaluation, TokenPolicy
from ttrl_env.agents.policies.reference import FrozenReference
from ttrl_env.agents.policies.sharding import backward
from ttrl_env.agents.rollout.types import Rollout, first_chunk, groups_with_spread
from ttrl_env.agents.update.advantages import group_advantage
from ttrl_env.agents.update.losses import LossDiagnostics, clipped_policy_loss, merge_diagnostics
from ttrl_env.agents.update.micro_batch_size import fitting_chunks
from ttrl_env.agents.update.minibatches import MicroBatch, assign_targets, make_minibatches
from ttrl_env.agents.update.optimisation import GuardedOptimizer
from ttrl_env.agents.update.report import AdvantageStatistics, UpdateReport, logprob_differences
from ttrl_env.agents.update.value_head import ValueHead, value_loss
from ttrl_env.agents.update.value_targets import value_targets


class PPOAgent:
    """Owns the optimiser of a policy, and its value head if the advantage asks for one.

    The ratio of the first step is exactly 1: old log-probabilities are those of the policy before that
    step on the very micro-batches of the update, at the temperature each row was sampled at. The
    minibatch that is learnt from first gives its own in its first forward pass; the others are
    evaluated beforehand. The rollout's log-probabilities serve to report the difference.
    """

    def __init__(
        self,
        policy: TokenPolicy,
        config: PPOConfig,
        reference: FrozenReference | None = None,
        world: World = ALONE,
    ) -> None:
        """Make the optimiser.

        Args:
            policy: for several processes made ready by
                :func:`~ttrl_env.agents.policies.sharding.share_policy`.
            config: the algorithm.
            reference: what ``config.kl_coef`` pulls towards; given exactly if that is not 0.
            world: the processes that train together.
        """
        if (reference is None) != (config.kl_coef == 0):
            raise ValueError(
                f"reference: expected one exactly if kl_coef is not 0, got kl_coef={config.kl_coef} and "
                f"{'none' if reference is None else 'one'} (see frozen_reference)"
            )
        self.policy = policy
        self.config = config
        self.reference = reference
        self.world = world
        self.trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.value_head = self._make_value_head() if config.advantage == "gae" else None
        self.optimizer = GuardedOptimizer(self.trained, self.value_head, config, world)
        self._micro_batch_chunks: int | None = None if config.memory_gigabytes else config.micro_batch_chunks

    @property
    def reference_fingerprint(self) -> str | None:
        """Which policy the reference is, if it is a copy; ``None`` without one or with adapters."""
        return None if self.reference is None else self.reference.fingerprint

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.trained[0].device

    def state_dict(self) -> dict[str, Any]:
        """What continuing exactly needs, apart from the policy's weights; moments are cut as these are."""
        state = self.optimizer.state_dict()
        if self.value_head is not None:
            state["value_head"] = self.value_head.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, its tensors whole."""
        if ("value_head" in state) != (self.value_head is not None):
            raise ValueError(
                f"ppo.advantage={self.config.advantage!r} "
                f"{'needs a value head and the state has none' if self.value_head else 'has no value head'}"
            )
        self.optimizer.load_state_dict(state)
        if self.value_head is not None:
            self.value_head.load_state_dict(state["value_head"])

    def update(
        self, rollout: Rollout, seed: int | list[int] = 0, spare: Rollout | None = None
    ) -> UpdateReport:
        """Train on every trajectory of a rollout, each with its own reward.

        Several processes each give their own rollout and do what one would with all of them: steps,
        report and errors are the same in every process.

        Args:
            rollout: whole groups.
            seed: shuffles minibatches.
            spare: one chunk to compute on while other processes have more to do; by default the
                rollout's first. Needed if the rollout may be empty.

        Raises:
            TrainingDivergedError: ``config.max_skipped_steps`` steps in a row, of this update and the
                ones before, had a loss or gradient that was not finite.
        """
        started = time.perf_counter()
        rng = np.random.default_rng(seed)
        spare = first_chunk(rollout) if spare is None else spare
        learning = self._trajectories_to_learn_from(rollout)
        size = self._fit_micro_batches(spare) if self.world.any(len(learning) > 0) else 0
        minibatches = make_minibatches(rollout, learning, self.config, size, rng, spare, self.world)
        orders = [rng.permutation(len(minibatches)) for _ in range(self.config.epochs)]
        targets = self._prepare(rollout, spare, minibatches, orders[0], size)
        steps = [self._step(minibatches[index]) for order in orders for index in order]
        norms = [norm for _, norm in steps if math.isfinite(norm)]
        dropped_groups = len(np.unique(rollout.groups)) - len(np.unique(rollout.groups[learning]))
        return UpdateReport(
            first=steps[0][0] if steps else None,
            last=steps[-1][0] if steps else None,
            **targets,
            **logprob_differences(_counting(minibatches), self.world),
            grad_norm=max(norms, default=0.0),
            steps=len(norms),
            skipped_steps=len(steps) - len(norms),
            dropped_groups=self.world.total(dropped_groups),
            chunks=self.world.total(sum(len(batch.chunks) for batch in _counting(minibatches))),
            micro_batch_chunks=size,
            seconds=time.perf_counter() - started,
        )

    def _make_value_head(self) -> ValueHead:
        head = ValueHead(self.policy.num_features, self.config.gae.value_hidden_size)
        return head.to(next(self.policy.parameters()).device)

    def _trajectories_to_learn_from(self, rollout: Rollout) -> NDArray[np.int64]:
        """All of them with a value head; else those of groups whose rewards differ."""
        if self.value_head is not None:
            return np.flatnonzero(np.isin(np.arange(rollout.num_trajectories), rollout.trajectory))
        return np.flatnonzero(np.isin(rollout.groups, groups_with_spread(rollout.rewards, rollout.groups)))

    def _fit_micro_batches(self, chunk: Rollout) -> int:
        """Chunks a micro-batch, measured once if there is a budget, with copies of one ``chunk``."""
        if self._micro_batch_chunks is None:
            assert self.config.memory_gigabytes is not None

            def loss_of(chunks: int) -> Tensor:
                chosen = torch.zeros(chunks, dtype=torch.int64)
                inputs = {key: tensor[chosen] for key, tensor in chunk.inputs.items()}
                evaluation = self.policy.evaluate(inputs, chunk.tokens[chosen], torch.ones(chunks))
                return evaluation.logprobs.sum() + evaluation.entropies.sum() + evaluation.features.sum()

            fitting = fitting_chunks(
                loss_of,
                self.device,
                gigabytes=self.config.memory_gigabytes,
                limit=self.config.micro_batch_chunks,
            )
            self._micro_batch_chunks = min(self.world.gather(fitting))
            self.optimizer.zero_grad()
        return self._micro_batch_chunks

    def _prepare(
        self,
        rollout: Rollout,
        spare: Rollout,
        minibatches: Sequence[Sequence[MicroBatch]],
        order: NDArray[np.int64],
        size: int,
    ) -> dict[str, Any]:
        """Evaluate what has to be known before the first step; returns the report's part about targets."""
        if not minibatches:
            return {"advantages": None, "explained_variance": None}
        late = set(order[1:].tolist()) if self.value_head is None else set(order.tolist())
        self._evaluate_before(_flat([minibatches[index] for index in sorted(late)]))
        if self.reference is not None:
            for batch in _flat(minibatches):
                arguments = (batch.inputs, batch.tokens, batch.temperatures)
                batch.reference_logprobs = self.reference.logprobs(*arguments)
        if self.value_head is None:
            assert self.config.advantage != "gae"
            per_trajectory = group_advantage(rollout.rewards, rollout.groups, self.config.advantage)
            advantages = per_trajectory[rollout.trajectory.numpy()]
            explained, returns = None, None
        else:
            advantages, returns, explained = value_targets(
                rollout,
                _counting(minibatches),
                self.policy,
                self.value_head,
                self.config.gae,
                rows_at_once=size,
                spare=spare,
                world=self.world,
            )
        assign_targets(minibatches, advantages, returns)
        learnt_from = [advantages[batch.chunks.numpy()] for batch in _counting(minibatches)]
        everyones = self.world.gather(np.concatenate([np.empty(0), *learnt_from]))
        return {
            "advantages": AdvantageStatistics.of(np.concatenate(everyones)),
            "explained_variance": explained,
        }

    @torch.no_grad()
    def _evaluate_before(self, batches: Iterable[MicroBatch]) -> None:
        for batch in batches:
            evaluation = self._evaluate(batch)
            batch.old_logprobs = evaluation.logprobs
            if self.value_head is not None:
                batch.old_values = self.value_head(evaluation.features)

    def _step(self, minibatch: Sequence[MicroBatch]) -> tuple[LossDiagnostics, float]:
        """One optimiser step and its gradient norm, which is NaN where the step was left out."""
        self.optimizer.zero_grad()
        parts = []
        for batch in minibatch:
            loss, part = self._loss(batch)
            backward(loss, self.world)
            parts.append(part)
        diagnostics = merge_diagnostics([part for parts in self.world.gather(parts) for part in parts])
        return diagnostics, self.optimizer.step(diagnostics.loss + diagnostics.value_loss)

    def _loss(self, batch: MicroBatch) -> tuple[Tensor, LossDiagnostics]:
        """The micro-batch's part of the minibatch's loss."""
        config, evaluation = self.config, self._evaluate(batch)
        device = evaluation.logprobs.device
        if batch.old_logprobs is None:  # nothing has changed yet: this is the policy before the update
            batch.old_logprobs = evaluation.logprobs.detach()
        assert batch.advantages is not None
        loss, diagnostics = clipped_policy_loss(
            evaluation.logprobs,
            batch.old_logprobs,
            evaluation.entropies,
            batch.advantages.to(device),
            batch.token_weights.to(device),
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            clip_ratio_c=config.clip_ratio_c,
            entropy_coef=config.entropy_coef,
            chunk_weights=batch.chunk_weights.to(device) if config.ratio_level == "chunk" else None,
            reference_logprobs=batch.reference_logprobs,
            kl_coef=config.kl_coef,
        )
        if self.value_head is None:
            return loss, diagnostics
        error = self._value_loss(batch, evaluation.features)
        weight = float(batch.chunk_weights.sum()) or 1.0
        diagnostics = replace(diagnostics, value_loss=float(error.detach()) / weight)
        return loss + config.gae.value_coef * error, diagnostics

    def _value_loss(self, batch: MicroBatch, features: Tensor) -> Tensor:
        assert self.value_head is not None
        assert batch.returns is not None
        assert batch.old_values is not None
        features = features if self.config.gae.value_backpropagates else features.detach()
        weights = batch.chunk_weights.to(features.device)
        returns = batch.returns.to(features.device)
        return value_loss(
            self.value_head(features), returns, batch.old_values, weights, self.config.gae.value_clip
        )

    def _evaluate(self, batch: MicroBatch) -> TokenEvaluation:
        return self.policy.evaluate(batch.inputs, batch.tokens, batch.temperatures)


def _flat(minibatches: Iterable[Sequence[MicroBatch]]) -> list[MicroBatch]:
    return [batch for minibatch in minibatches for batch in minibatch]


def _counting(minibatches: Iterable[Sequence[MicroBatch]]) -> list[MicroBatch]:
    """Those that are not spare."""
    return [batch for batch in _flat(minibatches) if not batch.spare]
