"""OpenVLA's network: two vision towers, a projector and Llama, with the published parameter names."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.cache_utils import DynamicCache

from ttrl_env.agents.policies.openvla.config import OpenVLAConfig
from ttrl_env.agents.policies.openvla.vision import FusedVisionBackbone

_CACHE_ARGUMENT = (
    "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
)
"""Name of Llama's cache argument: transformers renamed it in 5.2x and warns about the old name."""


class OpenVLAModel(nn.Module):
    """OpenVLA's network; computes the last hidden states of a sequence of embeddings."""

    proprio_projector: nn.Module | None

    def __init__(self, config: OpenVLAConfig, attention: str = "sdpa", *, state_dim: int = 0) -> None:
        """``state_dim``: numbers of the robot's state, which becomes a token; 0: it has no such token."""
        super().__init__()
        vision_width = sum(shape.embed_dim for shape in config.backbones)
        llama = LlamaConfig(**config.text)
        llama._attn_implementation = attention
        self.vision_backbone = FusedVisionBackbone(*config.backbones, config.image_size)
        self.projector = _Projector(vision_width, llama.hidden_size)
        self.language_model = LlamaForCausalLM(llama)
        self.proprio_projector = ProprioProjector(state_dim, llama.hidden_size) if state_dim else None
        self.gradient_checkpointing = False

    @property
    def hidden_size(self) -> int:
        """Width of the language model's hidden states."""
        return self.language_model.config.hidden_size

    @property
    def stop_id(self) -> int:
        """Id of the token that ends a sequence."""
        stop = self.language_model.config.eos_token_id
        assert isinstance(stop, int)
        return stop

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Visual tokens ``[rows, patches, hidden]`` of normalised pixels ``[rows, 6, S, S]``."""
        return self.projector(self.vision_backbone(pixels))

    def embed_state(self, state: Tensor) -> Tensor:
        """One token ``[rows, 1, hidden]`` of the normalised state ``[rows, state_dim]``."""
        assert self.proprio_projector is not None
        token: Tensor = self.proprio_projector(state)
        return token[:, None]

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings ``[rows, length, hidden]`` of vocabulary ids."""
        return self.language_model.model.embed_tokens(ids)

    def hidden_states(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """Last hidden states ``[rows, length, hidden]``.

        Args:
            embeddings: ``[rows, length, hidden]``.
            mask: bool, broadcastable to ``[rows, 1, length, keys]``; True where a query may attend to a key.
                It is always given, because Llama would be causal without it.
            positions: ``[rows, length]`` rotary positions.
            cache: keys and values of earlier positions, extended in place.
        """
        llama = self.language_model.model
        # Hugging Face's layers recompute only in training mode; the mode has no other effect here.
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        if llama.training != recompute:
            llama.train(recompute)
        bias = torch.zeros(mask.shape, dtype=embeddings.dtype, device=mask.device)
        bias = bias.masked_fill(~mask, torch.finfo(embeddings.dtype).min)
        cached: dict[str, Any] = {} if cache is None else {_CACHE_ARGUMENT: cache}
        return llama(
            inputs_embeds=embeddings,
            attention_mask=bias,
            position_ids=positions,
            use_cache=cache is not None,
            **cached,
        ).last_hidden_state

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""
        return DynamicCache(config=self.language_model.config)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute every transformer block in the backward pass instead of keeping its activations."""
        self.gradient_checkpointing = True
        for tower in self.vision_backbone.towers:
            tower.gradient_checkpointing = True
        llama = self.language_model
        newer = hasattr(llama, "activation_checkpointing_enable")  # if both exist, the older name warns
        enable = llama.activation_checkpointing_enable if newer else llama.gradient_checkpointing_enable
        enable({"use_reentrant": False})


class _Projector(nn.Module):
    """Maps visual features to the language model's width."""

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_width, 4 * vision_width)
        self.fc2 = nn.Linear(4 * vision_width, width)
        self.fc3 = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(features)))))


class ProprioProjector(nn.Module):
    """Maps the robot's state to the language model's width."""

    def __init__(self, state_dim: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(state_dim, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, state: Tensor) -> Tensor:
        """``[rows, width]`` of ``state`` ``[rows, state_dim]``."""
        return self.fc2(F.gelu(self.fc1(state)))
