"""AdamW with a warm-up, clipped gradients, and steps that are left out where something is not finite."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.policies.lockstep import Lockstep
from ttrl_env.agents.policies.protocol import UpdatedPolicy
from ttrl_env.agents.policies.sharding import slice_like_parameters
from ttrl_env.errors import TrainingDivergedError


class GuardedOptimizer:
    """Optimiser of a policy's trainable weights and, apart in step size and clipping, of a value head."""

    def __init__(
        self,
        lockstep: Lockstep[UpdatedPolicy],
        value_head: nn.Module | None,
        config: PPOConfig,
    ) -> None:
        self.lockstep = lockstep
        self.trained = [each for each in lockstep.policy.parameters() if each.requires_grad]
        self.value_parameters = [] if value_head is None else list(value_head.parameters())
        self.max_grad_norm = config.max_grad_norm
        self.max_skipped_steps = config.max_skipped_steps
        groups: list[dict[str, Any]] = [{"params": self.trained}]
        if self.value_parameters:
            groups.append({"params": self.value_parameters, "lr": config.gae.value_learning_rate})
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.warmup_steps = config.warmup_steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._warmup)
        self._configured = [(group["initial_lr"], group["weight_decay"]) for group in groups]
        self._skipped_in_a_row = 0

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, loss: float) -> float:
        """Take the step of the gradients at hand; returns the policy's gradient norm before clipping.

        The gradients are those of all processes and ``loss`` is known to all, so that all do the same.

        NaN, and nothing changes, where the loss or a gradient is not finite.

        Raises:
            TrainingDivergedError: that was so ``max_skipped_steps`` times in a row.
        """
        norm = self.lockstep.clip_gradients(self.trained, self.max_grad_norm)
        value_norm = self.lockstep.clip_gradients(self.value_parameters, self.max_grad_norm)
        if not (math.isfinite(loss) and math.isfinite(norm) and math.isfinite(value_norm)):
            self._skip()
            return math.nan
        self._skipped_in_a_row = 0
        self.optimizer.step()
        self.schedule.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """What continuing exactly needs."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "skipped_in_a_row": self._skipped_in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a whole :meth:`state_dict`, with the step size and weight decay configured now.

        PyTorch would bring back those of the state, and a run that goes on with a lower step size
        would not have it.
        """
        self.optimizer.load_state_dict(slice_like_parameters(state["optimizer"], self.optimizer))
        self.schedule.load_state_dict(state["schedule"])
        self._skipped_in_a_row = state["skipped_in_a_row"]
        self.schedule.base_lrs = [rate for rate, _ in self._configured]
        for group, (rate, weight_decay) in zip(self.optimizer.param_groups, self._configured, strict=True):
            group["initial_lr"] = rate
            group["lr"] = rate * self._warmup(self.schedule.last_epoch)
            group["weight_decay"] = weight_decay

    def _warmup(self, step: int) -> float:
        """Share of the step size after ``step`` steps."""
        return min(1.0, (step + 1) / (self.warmup_steps + 1))

    def _skip(self) -> None:
        self.zero_grad()
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= self.max_skipped_steps:
            raise TrainingDivergedError(
                f"{self._skipped_in_a_row} optimiser steps in a row had a loss or gradient that is not "
                f"finite and were skipped (ppo.max_skipped_steps={self.max_skipped_steps}). Go on from an "
                f"earlier checkpoint with a lower ppo.learning_rate"
            )
