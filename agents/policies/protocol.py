"""What a token VLA offers to rollouts, updates and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ttrl_env.engines.interface import CameraName
from ttrl_env.kernels import SampledTokens

PolicyInputs: TypeAlias = dict[str, Tensor]
"""A policy's own inputs, first axis the row; stored with a rollout and given back for the update.

CPU tensors. Rows of different calls can be joined with ``torch.cat`` and selected by index: whatever
varies in length is padded to a length of its own, not the batch's, and padding changes no result.
"""


@dataclass(frozen=True, kw_only=True)
class TokenEvaluation:
    """What a policy says of given tokens: one row a chunk, ``K = chunk_steps * 7``, differentiable."""

    logprobs: Tensor
    """``[rows, K]`` float32 log-probabilities of the tokens at each row's temperature."""
    entropies: Tensor
    """``[rows, K]`` float32 entropies of the distributions, nats."""
    features: Tensor
    """``[rows, num_features]`` float32 summary of the last hidden states, for a value head.

    Of what the policy saw before it chose, never of the tokens: they are the features of a state."""


class TokenPolicy(Protocol):
    """Observation and instruction in, tokens of one chunk of actions out.

    Implementations are ``torch.nn.Module`` classes without dropout. The same inputs must give the
    same distribution in :meth:`sample` and :meth:`evaluate`, with gradients or without: PPO's ratio
    is exactly 1 before the first update because of that. Tokens are drawn and weighed by
    ``ttrl_env.kernels`` and nothing else; whether a chunk's tokens are predicted in parallel or one
    after the other is the policy's own affair.
    """

    chunk_steps: int
    """Actions per chunk, executed open loop."""

    cameras: tuple[CameraName, ...]
    """The cameras whose images :meth:`prepare` needs, at least one: environments render no others."""

    num_features: int
    """Width of :attr:`TokenEvaluation.features`."""

    def check_image_size(self, image_size: int) -> None:
        """Raise ``ValueError`` unless the policy can see square images of ``image_size`` pixels."""

    def prepare(self, observations: dict[str, NDArray], instructions: Sequence[str]) -> PolicyInputs:
        """Turn raw environment observations of ``rows`` rows into the policy's inputs."""

    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        """Draw a chunk for every row; the fields are ``[rows, K]``.

        Args:
            inputs: from :meth:`prepare`.
            temperatures: ``[rows]`` float32; 0 is greedy.
            seeds: ``[rows, K]`` int64, one stream of random numbers a token.
            step: where in their streams the draw is made.
        """

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        """Log-probabilities of ``tokens`` ``[rows, K]`` int64 at ``temperatures`` ``[rows]`` float32.

        Every token is conditioned on what it was conditioned on when it was sampled.
        """

    def decode(self, tokens: Tensor) -> NDArray[np.float64]:
        """Environment actions ``[rows, chunk_steps, 7]`` of tokens ``[rows, K]``."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The policy's tensors; those that require a gradient are trained."""

    def sharding_units(self) -> Sequence[nn.Module]:
        """The modules to put together one at a time where several processes keep slices of the weights.

        Between them they should hold nearly all weights; one that never computes may be among them.
        """

    def save_pretrained(
        self, save_directory: str | Path, *, state_dict: dict[str, Tensor] | None = None
    ) -> Any:
        """Write ``config.json`` and safetensors weights.

        ``state_dict`` holds the whole weights of a policy that has only slices of them itself.
        """
