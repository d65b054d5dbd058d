"""Inputs of sampling other than logits, and its outputs: tensors with one value for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class SamplingInputs(NamedTuple):
    """Inputs of sampling other than logits. All tensors are ``[rows]``, on the device of the logits."""

    temperatures: Tensor
    """float32; 0 is greedy."""
    seeds: Tensor
    """int64, any value."""
    step: int | Tensor
    """An int64 for all rows, in Python or in a 0-d tensor."""
    greedy: Tensor | None
    """bool; True makes a row greedy at any temperature. None: only rows of temperature 0 are greedy."""

    def rows(self, rows: slice) -> SamplingInputs:
        """Views of some of the rows."""
        greedy = None if self.greedy is None else self.greedy[rows]
        return SamplingInputs(self.temperatures[rows], self.seeds[rows], self.step, greedy)

    def detached(self) -> SamplingInputs:
        """The same without the temperatures' gradient."""
        return self._replace(temperatures=self.temperatures.detach())

    def contiguous(self) -> SamplingInputs:
        """Contiguous tensors: the kernels address rows without a stride."""
        greedy = None if self.greedy is None else self.greedy.contiguous()
        return SamplingInputs(self.temperatures.contiguous(), self.seeds.contiguous(), self.step, greedy)


@dataclass(frozen=True, kw_only=True)
class SampledTokens:
    """One sample for each row. All tensors are ``[rows]``, on the device of the logits."""

    tokens: Tensor
    """int64 token ids in the full vocabulary, always inside the window."""
    logprobs: Tensor
    """float32 log-probability of the token under the distribution it was sampled from, at most 0."""
    entropies: Tensor
    """float32 entropy of that distribution, in nats."""
    valid: Tensor
    """bool; False where the row's logits hold NaN or +inf, or nothing but -inf."""

    @classmethod
    def empty(cls, rows: int, device: torch.device | str = "cpu") -> SampledTokens:
        """Uninitialised tensors to pass as ``out``, for example to a captured CUDA graph."""
        return cls(
            tokens=torch.empty(rows, dtype=torch.int64, device=device),
            logprobs=torch.empty(rows, dtype=torch.float32, device=device),
            entropies=torch.empty(rows, dtype=torch.float32, device=device),
            valid=torch.empty(rows, dtype=torch.bool, device=device),
        )

    def rows(self, rows: slice) -> SampledTokens:
        """Views of some of the rows."""
        return SampledTokens(
            tokens=self.tokens[rows],
            logprobs=self.logprobs[rows],
            entropies=self.entropies[rows],
            valid=self.valid[rows],
        )

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, log-probs, entropies and validity."""
        return self.tokens, self.logprobs, self.entropies, self.valid
