"""Inputs of sampling other than logits, and its outputs: tensors with one value for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ttrl_env.kernels.sampling_reference import CHUNK


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
    scratch: Tensor | None = None
    """float32 ``[rows, at least 4 * chunks]``: memory that sampling from a wide window on a GPU writes."""
    arrivals: Tensor | None = None
    """int32 ``[rows]``: zeros before and after a call; counts the programs of a row that have arrived."""

    @classmethod
    def empty(cls, rows: int, device: torch.device | str = "cpu", width: int = 0) -> SampledTokens:
        """Uninitialised tensors to pass as ``out``, for example to a captured CUDA graph.

        With the ``width`` of a window there is scratch memory for it, so that a call on a GPU allocates none.
        One such ``out`` must not be used on two CUDA streams at a time.
        """
        has_scratch = width > 0
        return cls(
            tokens=torch.empty(rows, dtype=torch.int64, device=device),
            logprobs=torch.empty(rows, dtype=torch.float32, device=device),
            entropies=torch.empty(rows, dtype=torch.float32, device=device),
            valid=torch.empty(rows, dtype=torch.bool, device=device),
            scratch=empty_scratch(rows, width, device) if has_scratch else None,
            arrivals=torch.zeros(rows, dtype=torch.int32, device=device) if has_scratch else None,
        )

    def rows(self, rows: slice) -> SampledTokens:
        """Views of some of the rows."""
        return SampledTokens(
            tokens=self.tokens[rows],
            logprobs=self.logprobs[rows],
            entropies=self.entropies[rows],
            valid=self.valid[rows],
            scratch=None if self.scratch is None else self.scratch[rows],
            arrivals=None if self.arrivals is None else self.arrivals[rows],
        )

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens, log-probs, entropies and validity."""
        return self.tokens, self.logprobs, self.entropies, self.valid


def empty_scratch(rows: int, width: int, device: torch.device | str) -> Tensor:
    """Uninitialised memory for the sums of each chunk; a power of two of chunks, at least four."""
    chunks = max(4, 1 << (-(-width // CHUNK) - 1).bit_length())
    return torch.empty((rows, 4 * chunks), dtype=torch.float32, device=device)
