"""OpenVLA and OpenVLA-OFT: loads published checkpoints into our own modules, without remote code."""

from ttrl_env.agents.policies.openvla.loading import load_openvla
from ttrl_env.agents.policies.openvla.policy import AdaptedOpenVLAPolicy, OpenVLAPolicy

__all__ = ["AdaptedOpenVLAPolicy", "OpenVLAPolicy", "load_openvla"]
