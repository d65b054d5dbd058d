"""TinyVLA: a vision-language-action policy small enough to train on a CPU.

A convolutional encoder conditioned on the instruction (FiLM, Perez et al. 2018) computes a square grid of
visual tokens, one for each 16 x 16 pixels. One learned query for each action token attends to them, and is
classified into 256 bins. As in OpenVLA-OFT, all tokens of a chunk are decoded in parallel.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from ttrl_env.agents.policies.action_tokenizer import NUM_ACTION_TOKENS, ActionRange
from ttrl_env.agents.policies.cameras import PolicyCamera, image_of
from ttrl_env.agents.policies.protocol import PolicyInputs, TokenEvaluation
from ttrl_env.agents.policies.tiny_vla_config import WRIST_CAMERA, TinyVLAConfig
from ttrl_env.agents.policies.token_grid import grid_logprobs, sample_grid
from ttrl_env.kernels import SampledTokens

_PROPRIOCEPTION_SCALE = (5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 25.0, 25.0)
"""Factors that scale position (metres), quaternion and finger positions (metres) to values of about 1."""


class TinyVLA(PreTrainedModel):
    """Implements :class:`ttrl_env.agents.policies.protocol.TokenPolicy`."""

    config: TinyVLAConfig
    config_class = TinyVLAConfig
    main_input_name = "pixels"

    def __init__(self, config: TinyVLAConfig) -> None:
        config.check()  # it may have changed since it was made
        super().__init__(config)
        width = config.hidden_size
        self.chunk_steps = config.chunk_steps
        self.action_dim = config.action_dim
        self.action_range = config.action_range
        self.cameras = config.cameras
        self.num_features = width
        # padding_idx 0 keeps absent words at zero: the sum over words ignores them
        self.words = nn.Embedding(config.word_buckets + 1, width, padding_idx=0)
        self.encoder = _FiLMEncoder(width)
        self.grid_position = nn.Parameter(torch.zeros((config.image_size // 16) ** 2, width))
        self.step_query = nn.Parameter(torch.zeros(config.chunk_steps, 1, width))
        self.dim_query = nn.Parameter(torch.zeros(1, config.action_dim, width))
        self.decoder = nn.ModuleList(_DecoderLayer(width, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, NUM_ACTION_TOKENS)
        if config.wrist_camera:
            self.wrist_encoder = _FiLMEncoder(width)
            self.wrist_position = nn.Parameter(torch.zeros((config.image_size // 16) ** 2, width))
        if config.proprioception:
            state_dim = len(_PROPRIOCEPTION_SCALE) if config.world == "LIBERO" else config.action_dim
            self.body = nn.Sequential(nn.Linear(state_dim, width), nn.GELU(), nn.Linear(width, width))
        self.post_init()

    def prepare(self, observations: dict[str, NDArray[Any]], instructions: Sequence[str]) -> PolicyInputs:
        """Inputs: ``pixels`` uint8 ``[rows, 3, S, S]`` and ``word_ids`` int64 ``[rows, max_words]``.

        If configured, also ``wrist_pixels``, like ``pixels``, and ``proprioception`` float32 ``[rows, 9]``
        (RoboTwin: ``[rows, action_dim]``).
        """
        ids = [_word_ids(text, self.config.word_buckets, self.config.max_words) for text in instructions]
        inputs = {
            "pixels": self._pixels(observations, self.config.camera),
            "word_ids": torch.tensor(ids, dtype=torch.int64),
        }
        if self.config.wrist_camera:
            inputs["wrist_pixels"] = self._pixels(observations, WRIST_CAMERA)
        if self.config.proprioception:
            inputs["proprioception"] = self._proprioception(observations)
        return inputs

    def _pixels(self, observations: dict[str, NDArray[Any]], camera: PolicyCamera) -> Tensor:
        planes = np.ascontiguousarray(image_of(observations, camera).transpose(0, 3, 1, 2))
        return _shrink(torch.from_numpy(planes), self.config.image_size)

    def _proprioception(self, observations: dict[str, NDArray[Any]]) -> Tensor:
        if self.config.world == "LIBERO":
            return _end_effector(observations)
        return _joints(observations, self.action_range)

    def check_image_size(self, image_size: int) -> None:
        """Raise ``ValueError`` unless the size is a multiple of ``config.image_size``, for averaging down."""
        if image_size % self.config.image_size:
            raise ValueError(
                f"the policy averages images down to {self.config.image_size} pixels and needs a multiple "
                f"of that, got {image_size}"
            )

    @torch.no_grad()
    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.sample`."""
        return sample_grid(self(**inputs), temperatures, seeds, step)

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.evaluate`."""
        hidden = self.hidden_states(**inputs)
        logprobs, entropies = grid_logprobs(self.head(hidden).float(), tokens, temperatures)
        return TokenEvaluation(logprobs=logprobs, entropies=entropies, features=hidden.float().mean(dim=1))

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits ``[rows, K, 256]`` float32, time-major, of ``hidden_states``' arguments."""
        return self.head(self.hidden_states(**inputs)).float()

    def hidden_states(
        self,
        pixels: Tensor,
        word_ids: Tensor,
        wrist_pixels: Tensor | None = None,
        proprioception: Tensor | None = None,
    ) -> Tensor:
        """Hidden states ``[rows, K, hidden_size]`` of the inputs from :meth:`prepare`."""
        device = self.head.weight.device
        instruction = self.words(word_ids.to(device)).sum(dim=1)
        memory = [self._see(self.encoder, pixels, instruction) + self.grid_position, instruction[:, None]]
        if wrist_pixels is not None:
            memory.append(self._see(self.wrist_encoder, wrist_pixels, instruction) + self.wrist_position)
        if proprioception is not None:
            memory.append(self.body(proprioception.to(device))[:, None])
        queries = (self.step_query + self.dim_query).reshape(1, -1, self.config.hidden_size)
        queries = queries.expand(len(pixels), -1, -1)
        for layer in self.decoder:
            queries = layer(queries, torch.cat(memory, dim=1))
        return self.norm(queries)

    def _see(self, encoder: nn.Module, pixels: Tensor, instruction: Tensor) -> Tensor:
        return encoder(pixels.to(instruction.device).float() / 127.5 - 1.0, instruction)

    def decode(self, tokens: Tensor) -> NDArray[np.float64]:
        """Actions ``[rows, chunk_steps, action_dim]``: the centres of the tokens' bins."""
        shape = (len(tokens), self.chunk_steps, self.action_dim)
        return self.action_range.decode(tokens.cpu().numpy().reshape(shape))

    def encode(self, actions: NDArray[Any]) -> Tensor:
        """Tokens ``[rows, K]`` of actions ``[rows, chunk_steps, action_dim]``, for demonstrations."""
        return torch.from_numpy(self.action_range.encode(actions)).flatten(1)

    def sharding_units(self) -> list[nn.Module]:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.sharding_units`."""
        return list(self.decoder)

    def save_pretrained(self, save_directory: str | PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As every ``PreTrainedModel``, with a model card (:mod:`ttrl_env.agents.policies.model_card`)."""
        from ttrl_env.agents.policies.model_card import write_model_card

        super().save_pretrained(save_directory, *args, **kwargs)
        write_model_card(Path(save_directory))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise weights to preserve variance.

        Hugging Face's standard deviation of 0.02 would nearly remove the instruction's influence.
        """
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
            module.weight[0].zero_()
        elif module is self:
            nn.init.normal_(self.head.weight, std=0.02)  # a new policy is close to uniform
            for parameter in (self.grid_position, self.step_query, self.dim_query):
                nn.init.normal_(parameter, std=0.5)
            if self.config.wrist_camera:
                nn.init.normal_(self.wrist_position, std=0.5)


class _FiLMEncoder(nn.Module):
    """Four strided convolutions; the instruction scales and shifts the channels of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (3, width // 4, width // 2, width, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in itertools.pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, after) for after in channels[1:])
        self.films = nn.ModuleList(nn.Linear(width, 2 * after) for after in channels[1:])

    def forward(self, pixels: Tensor, instruction: Tensor) -> Tensor:
        """Visual tokens ``[rows, (S / 16)**2, width]``."""
        hidden = pixels
        for convolution, norm, film in zip(self.convolutions, self.norms, self.films, strict=True):
            scale, shift = film(instruction)[:, :, None, None].chunk(2, dim=1)
            hidden = F.gelu(norm(convolution(hidden)) * (1 + scale) + shift)
        return hidden.flatten(2).transpose(1, 2)


class _DecoderLayer(nn.Module):
    """Pre-norm self-attention among the queries, cross-attention to the memory, feed-forward.

    It does not use ``nn.MultiheadAttention``, which has different code paths with and without gradients.
    Log-probabilities of rollout and update would then differ.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.self_attention = _Attention(width, num_heads)
        self.cross_attention = _Attention(width, num_heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Updated queries ``[rows, queries, width]``."""
        normed = self.norms[0](queries)
        queries = queries + self.self_attention(normed, normed)
        queries = queries + self.cross_attention(self.norms[1](queries), memory)
        return queries + self.feed_forward(self.norms[2](queries))


class _Attention(nn.Module):
    """Multi-head scaled dot-product attention without a mask."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Attended values ``[rows, queries, width]``."""
        query = self._split(self.query(queries))
        key, value = (self._split(part) for part in self.key_value(memory).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _end_effector(observations: dict[str, NDArray[Any]]) -> Tensor:
    """``[rows, 9]`` float32: position and quaternion of the end effector, finger positions, all scaled."""
    keys = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    missing = [key for key in keys if key not in observations]
    if missing:
        raise ValueError(f"observations: TinyVLA needs {missing}, got {sorted(observations)}")
    pos, quat, fingers = (np.asarray(observations[key], dtype=np.float64) for key in keys)
    quat = quat * np.where(quat[:, :1] < 0.0, -1.0, 1.0)  # a quaternion and its opposite are one orientation
    joined = np.concatenate([pos, quat, fingers], axis=1) * _PROPRIOCEPTION_SCALE
    return torch.from_numpy(joined.astype(np.float32))


def _joints(observations: dict[str, NDArray[Any]], targets: ActionRange) -> Tensor:
    """``[rows, action_dim]`` float32: the joints' positions, -1 to 1 over the range of their targets."""
    key, dims = "joint_state", len(targets.low)
    state = observations.get(key)
    if state is None or state.ndim != 2 or state.shape[1] != dims:
        got = sorted(observations) if state is None else list(state.shape)
        raise ValueError(f"observations: TinyVLA needs {key!r} of shape [rows, {dims}], got {got}")
    return torch.from_numpy(targets.normalised(state).astype(np.float32))


def _shrink(images: Tensor, size: int) -> Tensor:
    """Average ``[rows, 3, H, W]`` uint8 images down to ``size``; wide ones are squeezed to a square."""
    height, width = images.shape[-2:]
    if min(height, width) < size or (height == width and height % size):
        raise ValueError(
            f"observations: TinyVLA averages images down to {size} pixels; it needs square ones of a "
            f"multiple of that (env.image_size), or wide ones that are larger, got {height} x {width}"
        )
    if height == width == size:
        return images
    if height == width:
        return F.avg_pool2d(images.float(), height // size).round().to(torch.uint8)
    return F.adaptive_avg_pool2d(images.float(), size).round().to(torch.uint8)


def _word_ids(instruction: str, buckets: int, max_words: int) -> list[int]:
    """Ids of hashed words, padded with 0. The hash is CRC32: Python's own differs between processes."""
    words = re.findall(r"[a-z0-9]+", instruction.lower())[:max_words]
    ids = [1 + zlib.crc32(word.encode()) % buckets for word in words]
    return ids + [0] * (max_words - len(ids))
