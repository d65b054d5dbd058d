"""The policy update: PPO on the chunks a rollout executed, each at its row's temperature."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttrl_env.agents.config.checks import warn_of_half_drgrpo
from ttrl_env.agents.config.choices import GroupEstimator
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.policies.conformance import UPDATED, check_policy
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.policies.protocol import TokenEvaluation, TokenPolicy, UpdatedPolicy
from ttrl_env.agents.policies.reference import FrozenReference
from ttrl_env.agents.rollout.types import Rollout, groups_with_spread
from ttrl_env.agents.update.critic import Critic
from ttrl_env.agents.update.losses import LossDiagnostics, clipped_policy_loss, merge_diagnostics
from ttrl_env.agents.update.micro_batch_size import fitting_chunks
from ttrl_env.agents.update.minibatches import MicroBatch, assign_targets, make_minibatches, own_batches
from ttrl_env.agents.update.optimisation import GuardedOptimizer
from ttrl_env.agents.update.report import StepReport, UpdateReport, report_update
from ttrl_env.agents.update.targets import (
    Targets,
    critic_targets,
    final_values,
    group_targets,
    value_targets,
)
from ttrl_env.agents.update.value_head import ValueHead, value_loss

_TOLERANCE = 1.5
"""Of ``target_kl``, as in Stable-Baselines3, because one minibatch's estimate is noisy. CleanRL has none, and
stops after whole epochs."""


class PPOAgent:
    """Owns the optimiser of a policy, and its value head or critic if the advantage asks for one.

    The ratio of the first step is exactly 1: old log-probabilities are those of the policy before that
    step on the very micro-batches of the update, at the temperature each row was sampled at. The
    minibatch that is learnt from first gives its own in its first forward pass; the others are
    evaluated beforehand. The rollout's log-probabilities serve to report the difference.
    """

    def __init__(
        self,
        policy: UpdatedPolicy | Lockstep[UpdatedPolicy],
        config: PPOConfig,
        reference: FrozenReference | None = None,
    ) -> None:
        """Make the optimiser.

        Args:
            policy: the policy to train. Several processes give the :class:`Lockstep` of it that their
                rollouts were sampled with.
            config: the algorithm.
            reference: what ``config.kl_coef`` pulls towards; given exactly if that is not 0.
        """
        if (reference is None) != (config.kl_coef == 0):
            raise ValueError(
                f"reference: expected one exactly if kl_coef is not 0, got kl_coef={config.kl_coef} and "
                f"{'none' if reference is None else 'one'} (see frozen_reference)"
            )
        self.lockstep = Lockstep.of(policy)
        self.policy = self.lockstep.policy
        if self.lockstep.world.is_main:
            warn_of_half_drgrpo(config)
        self._group_relative = config.advantage in get_args(GroupEstimator)
        check_policy(self.policy, UPDATED if self._group_relative else (*UPDATED, "num_features"))
        self.config = config
        self.reference = reference
        self.value_head = self._make_value_head() if config.advantage == "gae" else None
        self.critic = Critic(self._num_features, config.critic) if config.advantage == "critic" else None
        self.optimizer = GuardedOptimizer(self.lockstep, self.value_head, config)
        self._micro_batch_chunks: int | None = None if config.memory_gigabytes else config.micro_batch_chunks

    @property
    def reference_fingerprint(self) -> str | None:
        """Which policy the reference is, if it is a copy; ``None`` without one or with adapters."""
        return None if self.reference is None else self.reference.fingerprint

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return self.optimizer.trained[0].device

    def state_dict(self) -> dict[str, Any]:
        """What continuing exactly needs, apart from the policy's weights; moments are cut as these are."""
        state = self.optimizer.state_dict()
        if self.value_head is not None:
            state["value_head"] = self.value_head.state_dict()
        if self.critic is not None:
            state["critic"] = self.critic.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`, its tensors whole."""
        for name, own in (("value_head", self.value_head), ("critic", self.critic)):
            if (name in state) != (own is not None):
                words = name.replace("_", " ")
                raise ValueError(
                    f"ppo.advantage={self.config.advantage!r} "
                    f"{f'needs a {words} and the state has none' if own else f'has no {words}'}"
                )
        self.optimizer.load_state_dict(state)
        if self.value_head is not None:
            self.value_head.load_state_dict(state["value_head"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])

    def update(self, rollout: Rollout, seed: int | list[int] = 0) -> UpdateReport:
        """Train on every trajectory of a rollout, each with its own reward.

        Several processes each give their own rollout and do what one would with all of them: steps,
        report and errors are the same in every process.

        Args:
            rollout: whole groups.
            seed: shuffles minibatches.

        Raises:
            ValueError: the environment has no horizon, and critic or loss reduction need one.
            TrainingDivergedError: ``config.max_skipped_steps`` steps in a row, of this update and the
                ones before, had a loss or gradient that was not finite.
        """
        started = time.perf_counter()
        rng, world = np.random.default_rng(seed), self.lockstep.world
        learning = self._trajectories_to_learn_from(rollout)
        size = self._fit_micro_batches(rollout) if world.any(len(learning) > 0) else 0
        minibatches = make_minibatches(rollout, learning, self.config, size, rng, self.lockstep)
        orders = [rng.permutation(len(minibatches)) for _ in range(self.config.epochs)]
        targets: Targets | None = None
        if minibatches:
            self._evaluate_before(minibatches, first=int(orders[0][0]))
            targets = self._targets(rollout, minibatches, size, rng)
            assign_targets(minibatches, targets)
        return report_update(
            rollout,
            learning,
            minibatches,
            targets,
            self._take_steps(minibatches, orders),
            micro_batch_chunks=size,
            seconds=time.perf_counter() - started,
            world=world,
        )

    def _trajectories_to_learn_from(self, rollout: Rollout) -> NDArray[np.int64]:
        """Those of groups whose rewards differ; with a value head or a critic, all of them."""
        if not self._group_relative:
            return np.flatnonzero(np.isin(np.arange(rollout.num_trajectories), rollout.trajectory))
        return np.flatnonzero(np.isin(rollout.groups, groups_with_spread(rollout.rewards, rollout.groups)))

    @torch.no_grad()
    def _evaluate_before(self, minibatches: Sequence[Sequence[MicroBatch]], first: int) -> None:
        """Note what the policy, its value head and the reference say before the first step.

        The ``first`` minibatch to be learnt from gives its own log-probabilities in its first forward
        pass, which saves this one unless values or features are needed for the targets.
        """
        for index, minibatch in enumerate(minibatches):
            for batch in minibatch:
                if index != first or not self._group_relative:
                    evaluation = self._evaluate(batch)
                    batch.old_logprobs = evaluation.logprobs
                    if self.value_head is not None:
                        batch.old_values = self.value_head(evaluation.features)
                    if self.critic is not None:
                        batch.features = evaluation.features.float().cpu()
                if self.reference is not None:
                    own = batch.select()
                    batch.reference_logprobs = self.reference.logprobs(
                        own.inputs, own.tokens, own.temperatures
                    )

    def _targets(
        self,
        rollout: Rollout,
        minibatches: Sequence[Sequence[MicroBatch]],
        rows_at_once: int,
        rng: np.random.Generator,
    ) -> Targets:
        """Advantages and returns: of the groups, the critic, or the value head before the update."""
        config = self.config
        if config.advantage == "critic":
            assert self.critic is not None
            features = torch.zeros(len(rollout.tokens), self._num_features)
            for batch in own_batches(minibatches):
                assert batch.features is not None
                features[batch.chunks] = batch.features
            return critic_targets(rollout, features, self.critic, rng, self.lockstep.world)
        if config.advantage != "gae":
            return group_targets(rollout, config.advantage)
        assert self.value_head is not None
        values = np.zeros(len(rollout.tokens))
        for batch in own_batches(minibatches):
            assert batch.old_values is not None
            values[batch.chunks.numpy()] = batch.old_values.cpu().numpy()
        ends = None
        if config.gae.bootstrap_truncated:
            ends = final_values(rollout, self.lockstep, self.value_head, rows_at_once)
        return value_targets(
            rollout,
            values,
            ends,
            gamma=config.gae.gamma,
            lam=config.gae.lam,
            normalise=config.gae.normalise_advantages,
            world=self.lockstep.world,
        )

    def _take_steps(
        self, minibatches: Sequence[Sequence[MicroBatch]], orders: Sequence[NDArray[np.int64]]
    ) -> list[StepReport]:
        """A pass over the minibatches in each of ``orders``, until the policy has moved too far."""
        steps: list[StepReport] = []
        for order in orders:  # an epoch
            for index in order:
                steps.append(self._step(minibatches[index]))
                if steps[-1].too_far:
                    return steps
        return steps

    def _step(self, minibatch: Sequence[MicroBatch]) -> StepReport:
        """One optimiser step, unless the policy has moved too far before it: the same in every process."""
        self.optimizer.zero_grad()
        parts = []
        for batch in minibatch:
            loss, part = self._loss(batch)
            self.lockstep.backward(loss)
            parts.append(part)
        everyones = self.lockstep.world.gather(parts)
        diagnostics = merge_diagnostics([part for parts in everyones for part in parts])
        total = diagnostics.loss + diagnostics.value_loss
        if math.isfinite(total) and self._too_far(diagnostics):  # what is not finite is skipped and counted
            self.optimizer.zero_grad()
            return StepReport(diagnostics=diagnostics, too_far=True)
        return StepReport(diagnostics=diagnostics, grad_norm=self.optimizer.step(total))

    def _too_far(self, diagnostics: LossDiagnostics) -> bool:
        target = self.config.target_kl
        return target is not None and diagnostics.approx_kl > _TOLERANCE * target

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
            ratio_level=config.ratio_level,
            chunk_weights=None if config.ratio_level == "token" else batch.chunk_weights.to(device),
            reference_logprobs=batch.reference_logprobs,
            kl_coef=config.kl_coef,
            kl_estimator=config.kl_estimator,
        )
        if self.value_head is None:
            return loss, diagnostics
        error = self._value_loss(batch, evaluation.features)
        weight = float(batch.chunk_weights.sum())
        mean = float(error.detach()) / (weight or 1.0)
        diagnostics = replace(diagnostics, chunk_weight=weight, value_loss=mean)
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
        own = batch.select()
        return self.policy.evaluate(own.inputs, own.tokens, own.temperatures)

    def _make_value_head(self) -> ValueHead:
        head = ValueHead(self._num_features, self.config.gae.value_hidden_size)
        return head.to(next(self.policy.parameters()).device)

    @property
    def _num_features(self) -> int:
        return cast(TokenPolicy, self.policy).num_features  # which check_policy has found

    def _fit_micro_batches(self, rollout: Rollout) -> int:
        """Chunks a micro-batch, measured once if there is a budget, with copies of one chunk."""
        if self._micro_batch_chunks is None:
            assert self.config.memory_gigabytes is not None
            one = self.lockstep.one_of(rollout.chunks)

            def loss_of(chunks: int) -> Tensor:
                copies = one.select(torch.zeros(chunks, dtype=torch.int64))
                evaluation = self.policy.evaluate(copies.inputs, copies.tokens, torch.ones(chunks))
                return evaluation.logprobs.sum() + evaluation.entropies.sum() + evaluation.features.sum()

            fitting = fitting_chunks(
                loss_of,
                self.device,
                gigabytes=self.config.memory_gigabytes,
                limit=self.config.micro_batch_chunks,
            )
            self._micro_batch_chunks = min(self.lockstep.world.gather(fitting))
            self.optimizer.zero_grad()
        return self._micro_batch_chunks
