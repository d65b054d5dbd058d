"""OpenVLA and OpenVLA-OFT: published checkpoints in a module of our own, without remote code."""

from ttrl_env.agents.policies.openvla.loading import load_openvla
from ttrl_env.agents.policies.openvla.policy import OpenVLAPolicy

__all__ = ["OpenVLAPolicy", "load_openvla"]
