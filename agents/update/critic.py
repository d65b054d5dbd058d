"""A critic that predicts what an episode will still earn, trained apart from the policy.

The value head of ``gae`` takes as many steps as the policy and sees its features alone. This critic has an
optimiser of its own and takes many small steps on the last few rollouts. It also sees how much of the horizon
has passed and how hot the row samples, because both change the chance of success. In simulation it
may also see what the simulator knows of the goal: an asymmetric critic (Pinto et al. 2017, arXiv 1710.06542).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttrl_env.agents.config.schema import CriticConfig
from ttrl_env.agents.update.value_head import explained_variance

_WAVES = 6
"""Cosines of the elapsed share of the horizon: the sharpest changes six times over an episode."""
_TEMPERATURE_SCALE = 5.0
"""A ladder spans a few tenths, the other inputs a unit or two."""
_CONSTANT = 1e-6
"""Standard deviation below which an entry of the privileged state is a constant with rounding errors."""
_LARGEST_LOGIT = 4.0
"""The prior of a critic that has seen nothing stays between 2 % and 98 %."""


@dataclass(frozen=True, kw_only=True)
class CriticSamples:
    """``m`` chunks as the critic sees them, on the CPU."""

    features: Tensor
    """``[m, num_features]`` float32, the policy's features of the observation before the chunk."""
    elapsed: Tensor
    """``[m]`` float32 share of the horizon that has passed before the chunk, 0 to 1."""
    temperatures: Tensor
    """``[m]`` float32 sampling temperature of the chunk's row."""
    privileged: Tensor
    """``[m, P]`` float32 what the simulator knew before the chunk; ``P`` is 0 if that is hidden."""
    returns: Tensor
    """``[m]`` float32 reward that the episode still earned, 0 to 1."""

    def select(self, which: Tensor) -> CriticSamples:
        """Some of them, copied."""
        return CriticSamples(**{name: tensor[which] for name, tensor in vars(self).items()})

    @staticmethod
    def join(parts: Sequence[CriticSamples]) -> CriticSamples:
        """Several as one, in their order."""
        return CriticSamples(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        )


@dataclass(frozen=True, kw_only=True)
class CriticReport:
    """How well the critic predicted a rollout that it had not learnt from."""

    explained_variance: float
    """Of the returns, by the values; NaN where all returns are equal."""
    brier_score: float
    """Mean squared error of the values: 0 is perfect, 0.25 is a coin."""
    calibration_error: float
    """Mean distance between predicted and earned return, over tenths of the chunks ordered by value."""
    loss: float
    """Cross-entropy over the replay after learning, nats."""


class SuccessNetwork(nn.Module):
    """Features, elapsed share of the horizon, temperature and privileged state to the logit of the return."""

    mean: Tensor
    """``[P]`` of the privileged state in the replay; 0 until something has been learnt."""
    scale: Tensor
    """``[P]`` its standard deviation."""

    def __init__(self, num_features: int, num_privileged: int, hidden_size: int, seed: int = 0) -> None:
        super().__init__()
        self.num_privileged = num_privileged
        self.register_buffer("mean", torch.zeros(num_privileged))
        self.register_buffer("scale", torch.ones(num_privileged))
        with torch.random.fork_rng(devices=[]):  # the same network whatever was sampled before
            torch.manual_seed(seed)
            self.normalise = nn.LayerNorm(num_features)
            self.hidden = nn.Sequential(
                nn.Linear(num_features + _WAVES + 1 + num_privileged, hidden_size),
                nn.GELU(),
                nn.Linear(hidden_size, hidden_size),
                nn.GELU(),
            )
            self.logit = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, samples: CriticSamples) -> Tensor:
        """Logits ``[m]`` float32."""
        waves = torch.cos(math.pi * samples.elapsed[:, None] * torch.arange(1, _WAVES + 1))
        heat = _TEMPERATURE_SCALE * (samples.temperatures[:, None] - 1.0)
        features = self.normalise(samples.features.float())
        privileged = (samples.privileged - self.mean) / self.scale
        seen = torch.cat([features, waves, heat, privileged], dim=1)
        return self.logit(self.hidden(seen))[:, 0]

    def standardise(self, privileged: Tensor) -> None:
        """From now on, shift and scale the privileged state as that of ``privileged`` ``[m, P]`` asks for."""
        if not self.num_privileged:
            return
        self.mean = privileged.mean(dim=0)
        spread = privileged.std(dim=0, correction=0)
        self.scale = torch.where(spread > _CONSTANT, spread, 1.0)


class Critic:
    """The network, its optimiser, and the last rollouts it learns from; on the CPU.

    Values of a rollout are those of the critic *before* it has learnt from it: a critic that knows how an
    episode ended would take the policy's reward for its own prediction.
    """

    def __init__(self, num_features: int, config: CriticConfig) -> None:
        self.config = config
        self._num_features = num_features
        self.replay: deque[CriticSamples] = deque(maxlen=config.replay_rollouts)
        self._build(num_privileged=0)

    def _build(self, num_privileged: int) -> None:
        """A new network and optimiser. How long privileged states are is known from the first rollout on."""
        self.network = SuccessNetwork(self._num_features, num_privileged, self.config.hidden_size)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )

    @torch.no_grad()
    def values(self, samples: CriticSamples) -> Tensor:
        """``[m]`` float32 predicted returns, 0 to 1.

        Before the first rollout has been learnt from, all are the mean return of ``samples``.
        """
        if not self.replay:
            self._build(samples.privileged.shape[1])
            self._start_at(float(samples.returns.mean()))
        return torch.sigmoid(self._logits(samples))

    def learn(self, samples: CriticSamples, values: Tensor, rng: np.random.Generator) -> CriticReport:
        """Add a rollout to the replay and take ``config.steps`` steps on it.

        Args:
            samples: the rollout's chunks.
            values: ``[m]`` what :meth:`values` said of them.
            rng: which chunks a step sees.
        """
        self.replay.append(samples)
        everything = CriticSamples.join(list(self.replay))
        self.network.standardise(everything.privileged)
        total, size = len(everything.returns), self.config.batch_chunks
        for _ in range(self.config.steps):
            batch = everything.select(torch.from_numpy(rng.integers(total, size=min(size, total))))
            self.optimizer.zero_grad(set_to_none=True)
            self._loss(batch).backward()
            self.optimizer.step()
        with torch.no_grad():
            loss = float(self._loss(everything))
        return _report(samples.returns.numpy(), values.numpy(), loss)

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing exactly needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": [vars(samples) for samples in self.replay],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._build(len(state["network"]["mean"]))
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = self.config.learning_rate, self.config.weight_decay
        self.replay.clear()
        self.replay.extend(CriticSamples(**samples) for samples in state["replay"])

    def _logits(self, samples: CriticSamples) -> Tensor:
        logits: Tensor = self.network(samples)
        return logits

    def _loss(self, samples: CriticSamples) -> Tensor:
        """Cross-entropy with the return as a probability: least where the value is the mean return."""
        return nn.functional.binary_cross_entropy_with_logits(self._logits(samples), samples.returns)

    def _start_at(self, mean: float) -> None:
        logit = math.log(mean / (1 - mean)) if 0 < mean < 1 else math.copysign(math.inf, mean - 0.5)
        nn.init.constant_(self.network.logit.bias, min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT))


def _report(returns: np.ndarray, values: np.ndarray, loss: float) -> CriticReport:
    order = np.argsort(values, kind="stable")
    tenths = [part for part in np.array_split(order, 10) if len(part)]
    distances = [abs(values[part].mean() - returns[part].mean()) * len(part) for part in tenths]
    return CriticReport(
        explained_variance=explained_variance(values, returns),
        brier_score=float(np.square(values - returns).mean()),
        calibration_error=float(sum(distances) / len(returns)),
        loss=loss,
    )
