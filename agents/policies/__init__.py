"""Vision-language-action policies behind one protocol.

Names are imported when first used, so that whoever wants the protocol does not wait for ``transformers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ttrl_env.agents.common.lazy_names import imported_when_used

if TYPE_CHECKING:
    from ttrl_env.agents.policies.loading import load_policy
    from ttrl_env.agents.policies.options import PolicyOptions
    from ttrl_env.agents.policies.protocol import PolicyInputs, TokenEvaluation, TokenPolicy
    from ttrl_env.agents.policies.registry import register_policy
    from ttrl_env.agents.policies.tiny_vla import TinyVLA
    from ttrl_env.agents.policies.tiny_vla_config import TinyVLAConfig

__all__ = [
    "PolicyInputs",
    "PolicyOptions",
    "TinyVLA",
    "TinyVLAConfig",
    "TokenEvaluation",
    "TokenPolicy",
    "load_policy",
    "register_policy",
]

__getattr__ = imported_when_used(
    __name__,
    {
        "PolicyInputs": "protocol",
        "PolicyOptions": "options",
        "TinyVLA": "tiny_vla",
        "TinyVLAConfig": "tiny_vla_config",
        "TokenEvaluation": "protocol",
        "TokenPolicy": "protocol",
        "load_policy": "loading",
        "register_policy": "registry",
    },
)
