"""The policy a run started from, frozen: what the KL penalty measures the distance to."""

from __future__ import annotations

import copy
import hashlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ttrl_env.agents.policies.protocol import PolicyInputs, TokenPolicy


class FrozenReference:
    """Log-probabilities under a policy that no longer changes."""

    def __init__(self, policy: TokenPolicy, unchanged: Any = nullcontext) -> None:
        """``unchanged()`` is a context in which ``policy`` is what it was at the start."""
        self.policy = policy
        self._unchanged = unchanged

    @torch.no_grad()
    def logprobs(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> Tensor:
        """``[rows, K]`` float32; arguments as for ``TokenPolicy.evaluate``."""
        context: AbstractContextManager[Any] = self._unchanged()
        with context:
            return self.policy.evaluate(inputs, tokens, temperatures).logprobs


def frozen_reference(policy: TokenPolicy) -> FrozenReference:
    """``policy`` as it is now, whatever becomes of it.

    A policy with adapters (one that has ``disable_adapter()``, as ``peft`` models do) is its own
    reference with the adapters off, at no cost in memory; it must not be trained in any other part.
    Any other policy is copied.
    """
    disable_adapter = getattr(policy, "disable_adapter", None)
    if disable_adapter is not None:
        return FrozenReference(policy, disable_adapter)
    frozen = copy.deepcopy(policy)
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    return FrozenReference(frozen)


def fingerprint(policy: TokenPolicy) -> str:
    """SHA-256 over names, shapes and bytes of a policy's weights: the same for the same policy only."""
    assert isinstance(policy, nn.Module)
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
