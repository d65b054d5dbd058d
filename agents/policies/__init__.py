"""Vision-language-action policies behind one protocol."""

from ttrl_env.agents.policies.loading import load_policy
from ttrl_env.agents.policies.options import PolicyOptions
from ttrl_env.agents.policies.protocol import PolicyInputs, TokenEvaluation, TokenPolicy
from ttrl_env.agents.policies.tiny_vla import TinyVLA, TinyVLAConfig

__all__ = [
    "PolicyInputs",
    "PolicyOptions",
    "TinyVLA",
    "TinyVLAConfig",
    "TokenEvaluation",
    "TokenPolicy",
    "load_policy",
]
