"""What a token VLA offers to rollouts, updates and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PolicyInputs: TypeAlias = dict[str, Tensor]
"""A policy's own inputs, first axis the row; stored with a rollout and given back for the update."""


class TokenPolicy(Protocol):
    """Observation and instruction in, logits over the tokens of one chunk of actions out.

    All tokens of a chunk are predicted in parallel, so their log-probabilities are independent given
    the inputs. Implementations are ``torch.nn.Module`` and Hugging Face ``PreTrainedModel`` classes
    without dropout: the same inputs must give the same logits in rollout and update.
    """

    chunk_steps: int
    """Actions per chunk, executed open loop."""

    def prepare(self, observations: dict[str, NDArray], instructions: Sequence[str]) -> PolicyInputs:
        """Turn raw environment observations of ``rows`` rows into the policy's inputs (on the CPU)."""

    def action_logits(self, inputs: PolicyInputs) -> Tensor:
        """Logits ``[rows, chunk_steps * 7, 256]`` float32, time-major, differentiable."""

    def decode(self, tokens: Tensor) -> NDArray[np.float64]:
        """Environment actions ``[rows, chunk_steps, 7]`` of tokens ``[rows, chunk_steps * 7]``."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The trainable tensors."""

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Write ``config.json`` and safetensors weights."""
