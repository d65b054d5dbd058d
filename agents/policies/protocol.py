"""What a token VLA offers to rollouts, updates, checkpoints and evaluation.

Shapes: ``rows`` are rows of an environment or chunks of a rollout; ``K = chunk_steps * action_dim`` are the
tokens of a chunk, those of its first action first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ttrl_env.agents.policies.cameras import PolicyCamera
from ttrl_env.kernels import SampledTokens

DEFAULT_ACTION_DIM = 7
"""Tokens of one action of a policy that does not say; those of LIBERO's actions."""

PolicyInputs: TypeAlias = dict[str, Tensor]
"""A policy's own inputs, first axis the row; stored with a rollout and given back for the update.

CPU tensors. Rows of different calls can be joined with ``torch.cat`` and selected by index: whatever
varies in length is padded to a length of its own, not the batch's, and padding changes no result.
"""


@dataclass(frozen=True, kw_only=True)
class TokenEvaluation:
    """What a policy says of given tokens: one row a chunk, differentiable."""

    logprobs: Tensor
    """``[rows, K]`` float32 log-probabilities of the tokens at each row's temperature."""
    entropies: Tensor
    """``[rows, K]`` float32 entropies of the distributions, nats."""
    features: Tensor
    """``[rows, num_features]`` float32 summary of the last hidden states, for a value head.

    Of what the policy saw before it chose, never of the tokens: they are the features of a state."""


class PlayedPolicy(Protocol):
    """What rollouts and evaluation call.

    Tokens are sampled and weighed by ``ttrl_env.kernels`` and nothing else; whether a chunk's tokens are
    predicted in parallel or one after the other is the policy's own affair.

    Optional is ``action_dim`` (tokens of one action, 7 by default).
    """

    chunk_steps: int
    """Actions per chunk, executed open loop."""

    def prepare(self, observations: Any, instructions: Sequence[str]) -> PolicyInputs:
        """Turn raw environment observations of ``rows`` rows into the policy's inputs.

        Args:
            observations: what the environment returned, arrays ``[rows, ...]`` by name; of LIBERO those that
                :mod:`ttrl_env.vector_env` lists. One array, where an environment's observations are one.
            instructions: one a row; empty text where the environment gives none.
        """

    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        """Sample a chunk for every row.

        Returns, on any device, ``[rows, K]`` each: ``tokens`` int64, ``logprobs`` and ``entropies`` float32,
        ``valid`` bool. :func:`~ttrl_env.agents.policies.token_grid.sample_grid` makes them of logits.

        Args:
            inputs: from :meth:`prepare`.
            temperatures: ``[rows]`` float32; 0 is greedy.
            seeds: ``[rows, K]`` int64, one stream of random numbers a token.
            step: where in their streams the sample is taken.
        """

    def decode(self, tokens: Tensor) -> NDArray[Any]:
        """Environment actions ``[rows, chunk_steps, ...]`` of tokens ``[rows, K]`` int64 on the CPU.

        For LIBERO ``[rows, chunk_steps, 7]`` float64 in [-1, 1], for RoboTwin ``[rows, chunk_steps, 14]``
        joint targets; for an environment of your own whatever its actions are.
        """


class UpdatedPolicy(PlayedPolicy, Protocol):
    """What updates and KL references call besides.

    The same inputs must give the same distribution in ``sample`` and :meth:`evaluate`, with gradients or
    without: PPO's ratio is exactly 1 before the first update because of that.

    Optional is ``disable_adapter()`` (a context in which a policy that trains adapters alone is the policy it
    started from, as ``peft`` models have it).
    """

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        """Log-probabilities of ``tokens`` ``[rows, K]`` int64 at ``temperatures`` ``[rows]`` float32.

        Every token is conditioned on what it was conditioned on when it was sampled. All three arguments are
        on the CPU. :func:`~ttrl_env.agents.policies.token_grid.grid_logprobs` is given logits.
        """

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The policy's tensors; those that require a gradient, float32, are trained."""


class TokenPolicy(UpdatedPolicy, Protocol):
    """Observation and instruction in, tokens of one chunk of actions out: all that the commands call.

    Implementations are ``torch.nn.Module`` classes without dropout. Who calls what:

    - rollouts and evaluation: the members of :class:`PlayedPolicy`;
    - updates and KL references: those of :class:`UpdatedPolicy` besides;
    - value heads: ``num_features``;
    - environments made for the policy (``ttrl train``, ``ttrl eval``): ``cameras``, :meth:`check_image_size`;
    - checkpoints: :meth:`save_pretrained`;
    - training by several processes: :meth:`sharding_units`.

    :func:`~ttrl_env.agents.policies.conformance.check_policy` names what a policy lacks.

    Optional are ``autocast`` (true where float32 weights are multiplied in bfloat16, which ``ttrl doctor``
    then allows for) and ``check_image_shape(height, width)`` (raises ``ValueError`` unless it can see images
    of so many pixels; asked by ``ttrl doctor``).
    """

    num_features: int
    """Width of :attr:`TokenEvaluation.features`."""

    cameras: tuple[PolicyCamera, ...]
    """The cameras whose images :meth:`prepare` needs, at least one, all of one world
    (:mod:`ttrl_env.agents.policies.cameras`): environments render no others."""

    def check_image_size(self, image_size: int) -> None:
        """Raise ``ValueError`` unless the policy can see square images of ``image_size`` pixels."""

    def sharding_units(self) -> Sequence[nn.Module]:
        """The modules to put together one at a time where several processes keep slices of the weights.

        Between them they should hold nearly all weights; one that never computes may be among them. An
        empty list puts the whole policy together at once.
        """

    def save_pretrained(
        self, save_directory: str | Path, *, state_dict: dict[str, Tensor] | None = None
    ) -> Any:
        """Make the folder and write ``config.json``, whose ``model_type`` is the policy's kind, and weights.

        ``state_dict`` holds the whole weights of a policy that has only slices of them itself.
        """


def action_dim(policy: PlayedPolicy) -> int:
    """Tokens of one action."""
    dim: int = getattr(policy, "action_dim", DEFAULT_ACTION_DIM)
    return dim


def tokens_per_chunk(policy: PlayedPolicy) -> int:
    """``K``, the tokens of one chunk."""
    return policy.chunk_steps * action_dim(policy)
