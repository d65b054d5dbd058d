"""The two vision towers of OpenVLA, DINOv2 and SigLIP.

Parameter names and arithmetic are those of timm's ``VisionTransformer``, from which the published weights
come. timm itself is not a dependency, because it requires torchvision, whose build has to match torch's.
``tests/agents/policies/test_vision.py`` compares the outputs with timm's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ttrl_env.agents.policies.sizes import LARGEST_DEPTH, LARGEST_WIDTH, is_size


@dataclass(frozen=True, kw_only=True)
class ViTShape:
    """Architecture of one tower, in timm's terms."""

    embed_dim: int
    depth: int
    """Number of blocks; the features come from the last but one."""
    num_heads: int
    mlp_dim: int
    patch_size: int = 14
    class_token: bool = False
    reg_tokens: int = 0
    """Register tokens (Darcet et al. 2023)."""
    layer_scale: bool = False
    attention_pool: bool = False
    """Whether there is a pooling head (SigLIP). OpenVLA never uses it, but checkpoints contain it."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` if the shape is invalid."""
        if any(
            type(switch) is not bool for switch in (self.class_token, self.layer_scale, self.attention_pool)
        ):
            raise ValueError(f"expected true or false for what a tower has, got {self}")
        widths = (self.embed_dim, self.num_heads, self.mlp_dim, self.patch_size)
        if not all(map(is_size, widths)) or not is_size(self.reg_tokens, smallest=0):
            raise ValueError(f"expected sizes from 1 to {LARGEST_WIDTH}, got {self}")
        if not is_size(self.depth, LARGEST_DEPTH):
            raise ValueError(f"depth: expected an integer from 2 to {LARGEST_DEPTH}, got {self.depth}")
        if self.embed_dim % self.num_heads or self.depth < 2:
            raise ValueError(
                f"expected embed_dim a multiple of num_heads and depth of at least 2, got {self}"
            )


KNOWN_BACKBONES = {
    "vit_large_patch14_reg4_dinov2.lvd142m": ViTShape(
        embed_dim=1024,
        depth=24,
        num_heads=16,
        mlp_dim=4096,
        class_token=True,
        reg_tokens=4,
        layer_scale=True,
    ),
    "vit_so400m_patch14_siglip_224": ViTShape(
        embed_dim=1152, depth=27, num_heads=16, mlp_dim=4304, attention_pool=True
    ),
}
"""Shapes of the towers of ``dinosiglip-vit-so-224px``, by timm id."""


class FusedVisionBackbone(nn.Module):
    """Both towers; their features are concatenated along the channels."""

    def __init__(self, first: ViTShape, second: ViTShape, image_size: int) -> None:
        super().__init__()
        self.featurizer = VisionTransformer(first, image_size)
        self.fused_featurizer = VisionTransformer(second, image_size)

    @property
    def towers(self) -> tuple[VisionTransformer, VisionTransformer]:
        """Both, in the order of their features."""
        return self.featurizer, self.fused_featurizer

    def forward(self, pixels: Tensor) -> Tensor:
        """``[rows, patches, width]`` of ``pixels`` ``[rows, 6, S, S]``, the first tower's channels first."""
        first, second = pixels.split(3, dim=1)
        return torch.cat([self.featurizer(first), self.fused_featurizer(second)], dim=-1)


class VisionTransformer(nn.Module):
    """Pre-norm ViT whose output are the patches after the last but one block, without the final norm.

    The last block, the final norm and the pooling head are never run or trained. They exist so that
    checkpoints can be loaded and saved completely.
    """

    def __init__(self, shape: ViTShape, image_size: int) -> None:
        super().__init__()
        if image_size % shape.patch_size:
            raise ValueError(f"image_size: expected a multiple of {shape.patch_size}, got {image_size}")
        width = shape.embed_dim
        self.gradient_checkpointing = False
        if shape.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if shape.reg_tokens:
            self.reg_token = nn.Parameter(torch.zeros(1, shape.reg_tokens, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image_size // shape.patch_size) ** 2, width))
        self.patch_embed = _PatchEmbed(shape.patch_size, width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if shape.attention_pool:
            self.attn_pool = _AttentionPool(width, shape.mlp_dim)
        self._prefix = [name for name in ("cls_token", "reg_token") if hasattr(self, name)]
        self._num_prefix = int(shape.class_token) + shape.reg_tokens
        for unused in self.unused_modules():
            unused.requires_grad_(False)

    @property
    def used_blocks(self) -> nn.ModuleList:
        """The blocks that are run: all but the last."""
        return self.blocks[:-1]

    def unused_modules(self) -> list[nn.Module]:
        """Modules that never affect the output."""
        return [self.blocks[-1], self.norm, *([self.attn_pool] if hasattr(self, "attn_pool") else [])]

    def forward(self, pixels: Tensor) -> Tensor:
        """``[rows, patches, width]`` of ``pixels`` ``[rows, 3, S, S]``."""
        hidden = self.patch_embed(pixels) + self.pos_embed
        prefix = [getattr(self, name).expand(len(hidden), -1, -1) for name in self._prefix]
        hidden = torch.cat([*prefix, hidden], dim=1)
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.used_blocks:
            hidden = checkpoint(block, hidden, use_reentrant=False) if recompute else block(hidden)
        return hidden[:, self._num_prefix :]


class _PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class _Block(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        width = shape.embed_dim
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, shape.num_heads)
        self.ls1 = _LayerScale(width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width, shape.mlp_dim)
        self.ls2 = _LayerScale(width) if shape.layer_scale else nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.ls1(self.attn(self.norm1(hidden)))
        return hidden + self.ls2(self.mlp(self.norm2(hidden)))


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(hidden)))


class _LayerScale(nn.Module):
    """Scales channels by a learned factor.

    timm calls the parameter gamma. OpenVLA renamed it, because Hugging Face once rewrote that name.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * self.scale_factor


class _AttentionPool(nn.Module):
    """Parameters of the pooling head, which OpenVLA never runs: it uses the patches."""

    def __init__(self, width: int, mlp_dim: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width, mlp_dim)
