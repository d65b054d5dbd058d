"""How a checkpoint is loaded: what its own files do not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ttrl_env.agents.config.bounds import Seed, Text, check_fields
from ttrl_env.agents.config.checks import options_of_openvla
from ttrl_env.agents.config.schema import ChunkSteps, OpenVLATrainConfig
from ttrl_env.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(OpenVLATrainConfig):
    """Options of :func:`ttrl_env.agents.policies.load_policy`: an OpenVLA's, and those of every policy."""

    kind: Annotated[str, Text()] = "auto"
    """Which policy the checkpoint must be; "auto": what its config.json says."""
    chunk_steps: ChunkSteps | None = None
    """Actions a chunk. None: as recorded, else 8 in parallel and 1 autoregressively."""
    seed: Seed = 0
    """Seed of new LoRA adapters."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_fields(self)
        if self.autocast and self.dtype == "bfloat16":
            raise ConfigError(
                "policy.openvla.autocast: expected with float32 weights only, got "
                "policy.openvla.dtype=bfloat16"
            )


def refuse_options_without_effect(options: PolicyOptions, chunk_steps: int, policy: str) -> None:
    """Refuse what a ``policy``, none of OpenVLA, that decodes ``chunk_steps`` actions does not have.

    Raises:
        ConfigError: an option that would change nothing.
    """
    for name, value in options_of_openvla(options).items():
        raise ConfigError(
            f"policy.openvla.{name}: the checkpoint is a {policy}, which has no such option, got {value}; "
            f"leave it out"
        )
    if options.chunk_steps not in (None, chunk_steps):
        raise ConfigError(
            f"policy.chunk_steps: the checkpoint is a {policy} that decodes {chunk_steps} actions, got "
            f"{options.chunk_steps}; leave it out"
        )
