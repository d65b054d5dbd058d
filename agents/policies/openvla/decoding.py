"""The two ways in which OpenVLA models decode action tokens: in parallel, or one after the other.

The sequence is ``BOS | patches | text, padded on its left | actions``. Each part has the same columns in all
rows. Padding is masked and takes no rotary positions, so it does not change the result.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.protocol import PolicyInputs
from ttrl_env.kernels import SampledTokens, sample_from_hidden


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The sequence before the action tokens."""

    embeddings: Tensor
    """``[rows, length, hidden]``."""
    valid: Tensor
    """``[rows, length]`` bool; False for padding."""

    def extended(self, embeddings: Tensor) -> Prefix:
        """This prefix followed by ``embeddings`` ``[rows, more, hidden]``."""
        valid = self.valid.new_ones(embeddings.shape[:2])
        return Prefix(
            embeddings=torch.cat([self.embeddings, embeddings], dim=1),
            valid=torch.cat([self.valid, valid], dim=1),
        )

    @property
    def positions(self) -> Tensor:
        """``[rows, length]`` rotary positions, consecutive over the valid columns."""
        return (self.valid.long().cumsum(dim=1) - 1).clamp(min=0)


class Decoder(abc.ABC):
    """Base of both decoders. Tokens are bins 0..255, counted from the start of the action window."""

    def __init__(self, model: OpenVLAModel, num_tokens: int, window: tuple[int, int]) -> None:
        self._model, self.num_tokens, self.window = model, num_tokens, window

    def head(self) -> Tensor:
        """Rows ``[256, hidden]`` of the head for the action window; other logits are never computed."""
        lo, hi = self.window
        return self._model.language_model.lm_head.weight[lo:hi]

    def prefix(self, visual: Tensor, inputs: PolicyInputs) -> Prefix:
        """Join BOS, visual tokens ``[rows, patches, hidden]`` and text, cut to the longest prompt."""
        ids, lengths = inputs["prompt_ids"], inputs["prompt_lengths"]
        columns = int(lengths.max()) - 1  # columns of text; the lengths include BOS
        column = torch.arange(columns - 1, -1, -1)
        text_valid = (column < (lengths - 1)[:, None]).to(visual.device)
        used = torch.cat([ids[:, :1], ids[:, -columns:]], dim=1).to(visual.device)
        words = self._model.embed_tokens(used)
        return Prefix(
            embeddings=torch.cat([words[:, :1], visual.to(words.dtype), words[:, 1:]], dim=1),
            valid=torch.cat([text_valid.new_ones(len(ids), 1 + visual.shape[1]), text_valid], dim=1),
        )

    @abc.abstractmethod
    def sample(self, prefix: Prefix, temperatures: Tensor, seeds: Tensor, step: int) -> SampledTokens:
        """Sample ``[rows, K]`` tokens."""

    @abc.abstractmethod
    def hidden_states(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        """``[rows, K, hidden]`` states that predict each of ``tokens`` ``[rows, K]``."""

    @abc.abstractmethod
    def features(self, hidden: Tensor) -> Tensor:
        """``[rows, hidden]`` summary of :meth:`hidden_states` that does not depend on the tokens."""


class Parallel(Decoder):
    """OpenVLA-OFT: decodes all tokens of a chunk at once, with bidirectional attention.

    Action positions have zero vectors as input, and a stop token follows. As in a causal model, the state
    *before* a position predicts its token. The first token is therefore predicted by the end of the prompt.
    """

    def sample(self, prefix: Prefix, temperatures: Tensor, seeds: Tensor, step: int) -> SampledTokens:
        """See :meth:`Decoder.sample`."""
        hidden = self._states(prefix)
        temperatures = temperatures.repeat_interleave(self.num_tokens)
        sampled = _sample(hidden.flatten(0, 1), self.head(), temperatures, seeds.flatten(), step)
        return _stack([sampled], seeds.shape)

    def hidden_states(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        """See :meth:`Decoder.hidden_states`; the result does not depend on the tokens' values."""
        return self._states(prefix)

    def sequence(self, prefix: Prefix) -> Prefix:
        """The prefix, followed by zeros at the action positions and by the stop token."""
        rows, _, width = prefix.embeddings.shape
        empty = prefix.embeddings.new_zeros(rows, self.num_tokens, width)
        stop = torch.full((rows, 1), self._model.stop_id, device=prefix.valid.device)
        return prefix.extended(torch.cat([empty, self._model.embed_tokens(stop).to(empty.dtype)], dim=1))

    def features(self, hidden: Tensor) -> Tensor:
        """The mean over the chunk."""
        return hidden.mean(dim=1)

    def _states(self, prefix: Prefix) -> Tensor:
        sequence = self.sequence(prefix)
        mask = sequence.valid[:, None, None, :]
        hidden = self._model.hidden_states(sequence.embeddings, mask, sequence.positions)
        return hidden[:, -self.num_tokens - 2 : -2]


class Autoregressive(Decoder):
    """The original OpenVLA: decodes one token after the other with causal attention.

    Sampling uses a key-value cache.
    """

    def sample(self, prefix: Prefix, temperatures: Tensor, seeds: Tensor, step: int) -> SampledTokens:
        """See :meth:`Decoder.sample`."""
        cache, head = self._model.new_cache(), self.head()
        sampled: list[SampledTokens] = []
        hidden = self._model.hidden_states(
            prefix.embeddings, causal_mask(prefix.valid), prefix.positions, cache
        )
        while True:
            index = len(sampled)
            sampled.append(_sample(hidden[:, -1], head, temperatures, seeds[:, index], step))
            if len(sampled) == self.num_tokens:
                return _stack(sampled, seeds.shape)
            prefix = prefix.extended(self._embed(sampled[-1].tokens[:, None]).to(prefix.embeddings.dtype))
            hidden = self._model.hidden_states(
                prefix.embeddings[:, -1:], prefix.valid[:, None, None, :], prefix.positions[:, -1:], cache
            )

    def hidden_states(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        """See :meth:`Decoder.hidden_states`: teacher forcing, all positions in one pass."""
        sequence = prefix.extended(self._embed(tokens[:, :-1]).to(prefix.embeddings.dtype))
        hidden = self._model.hidden_states(
            sequence.embeddings, causal_mask(sequence.valid), sequence.positions
        )
        return hidden[:, -self.num_tokens :]

    def features(self, hidden: Tensor) -> Tensor:
        """The state at the end of the prompt, as later states depend on action tokens."""
        return hidden[:, 0]

    def _embed(self, tokens: Tensor) -> Tensor:
        return self._model.embed_tokens(tokens + self.window[0])


def causal_mask(valid: Tensor) -> Tensor:
    """``[rows, 1, length, length]`` bool: a query attends to valid keys up to its own position."""
    length = valid.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()
    return causal & valid[:, None, None, :]


def _sample(hidden: Tensor, head: Tensor, temperatures: Tensor, seeds: Tensor, step: int) -> SampledTokens:
    """Sample a token for each row, in the head's own precision: autocast would round the logits."""
    with torch.autocast(hidden.device.type, enabled=False):
        return sample_from_hidden(hidden.to(head.dtype), head, temperatures, seeds.contiguous(), step)


def _stack(sampled: list[SampledTokens], shape: torch.Size) -> SampledTokens:
    """Join the samples of successive columns, or reshape those of a flattened grid, to ``[rows, K]``."""
    return SampledTokens(
        tokens=torch.stack([each.tokens for each in sampled], dim=1).view(shape),
        logprobs=torch.stack([each.logprobs for each in sampled], dim=1).view(shape),
        entropies=torch.stack([each.entropies for each in sampled], dim=1).view(shape),
        valid=torch.stack([each.valid for each in sampled], dim=1).view(shape),
    )
