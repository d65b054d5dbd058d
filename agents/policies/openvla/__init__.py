"""OpenVLA and OpenVLA-OFT: loads published checkpoints into our own modules, without remote code."""

from ttrl_env.agents.policies.openvla.loading import load_openvla
from ttrl_env.agents.policies.openvla.policy import OpenVLAPolicy

__all__ = ["OpenVLAPolicy", "load_openvla"]
