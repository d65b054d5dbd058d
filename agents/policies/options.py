"""How a checkpoint is loaded: what its own files do not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from ttrl_env.agents.config.choices import Decoding, PolicyKind, WeightType
from ttrl_env.checks import check_choice, check_positive_int
from ttrl_env.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Options of :func:`ttrl_env.agents.policies.load_policy`. TinyVLA needs none of them."""

    kind: PolicyKind = "auto"
    """Which policy the checkpoint must be; "auto": what its config.json says."""
    decoding: Decoding | None = None
    """OpenVLA: "parallel" for OpenVLA-OFT with discrete actions, "autoregressive" for the original; the
    checkpoint does not say. None: as recorded by our own save_pretrained, else an error."""
    chunk_steps: int | None = None
    """OpenVLA: actions a chunk. None: as recorded, else 8 in parallel and 1 autoregressively."""
    unnorm_key: str | None = None
    """OpenVLA: dataset whose statistics un-normalise actions. None: as recorded, or the only one."""
    lora_rank: int = 0
    """Rank of new LoRA adapters on every linear layer; 0: none, all weights train."""
    lora_alpha: float = 32.0
    """LoRA's scale is lora_alpha / lora_rank."""
    gradient_checkpointing: bool = False
    """Recompute transformer blocks in the backward pass: far less memory, a third more time."""
    dtype: WeightType = "auto"
    """Type of the weights; "auto": as stored. Logits are float32 either way."""
    autocast: bool = False
    """bfloat16 matrix products with float32 weights (full fine-tuning)."""
    seed: int = 0
    """Seed of new LoRA adapters."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_choice("policy.kind", self.kind, get_args(PolicyKind))
        check_choice("policy.dtype", self.dtype, get_args(WeightType))
        if self.decoding is not None:
            check_choice("policy.decoding", self.decoding, get_args(Decoding))
        if self.chunk_steps is not None:
            check_positive_int("policy.chunk_steps", self.chunk_steps)
        check_positive_int("policy.lora_rank", self.lora_rank, minimum=0)
        if not self.lora_alpha > 0:
            raise ConfigError(f"policy.lora_alpha: expected a number above 0, got {self.lora_alpha}")
        if self.autocast and self.dtype == "bfloat16":
            raise ConfigError(
                "policy.autocast: expected with float32 weights only, got policy.dtype=bfloat16"
            )


def refuse_options_without_effect(options: PolicyOptions, chunk_steps: int) -> None:
    """Refuse what a TinyVLA that decodes ``chunk_steps`` actions does not have.

    Raises:
        ConfigError: an option that would change nothing.
    """
    usual = PolicyOptions()
    for name in ("decoding", "unnorm_key", "lora_rank", "lora_alpha", "gradient_checkpointing", "autocast"):
        if getattr(options, name) != getattr(usual, name):
            raise ConfigError(
                f"policy.{name}: the checkpoint is a TinyVLA, which has no such option, got "
                f"{getattr(options, name)}; leave it out"
            )
    if options.dtype not in ("auto", "float32"):
        raise ConfigError(f"policy.dtype: the checkpoint is a TinyVLA, which is float32, got {options.dtype}")
    if options.chunk_steps not in (None, chunk_steps):
        raise ConfigError(
            f"policy.chunk_steps: the checkpoint is a TinyVLA that decodes {chunk_steps} actions, got "
            f"{options.chunk_steps}; leave it out"
        )
