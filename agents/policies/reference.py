"""The policy a run started from, frozen: what the KL penalty measures the distance to."""

from __future__ import annotations

import copy
import hashlib
from typing import Any, cast

import torch
from torch import Tensor, nn

from ttrl_env.agents.policies.protocol import PolicyInputs, UpdatedPolicy


class FrozenReference:
    """Log-probabilities under a policy that no longer changes."""

    def __init__(self, policy: UpdatedPolicy) -> None:
        """``policy`` is kept, and its parameters are frozen."""
        self.policy = policy
        self.fingerprint: str | None = fingerprint(policy)
        for parameter in policy.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def logprobs(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> Tensor:
        """``[rows, K]`` float32; arguments as for ``UpdatedPolicy.evaluate``."""
        return self.policy.evaluate(inputs, tokens, temperatures).logprobs


class AdapterlessReference(FrozenReference):
    """A policy whose adapters are switched off for the moment: the base model they were added to."""

    def __init__(self, policy: UpdatedPolicy) -> None:
        self.policy = policy
        self.fingerprint = None

    def logprobs(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> Tensor:
        """See :meth:`FrozenReference.logprobs`."""
        with cast(Any, self.policy).disable_adapter():
            return super().logprobs(inputs, tokens, temperatures)


def frozen_reference(policy: UpdatedPolicy) -> FrozenReference:
    """``policy`` as it is now, whatever becomes of it.

    A policy that trains adapters only (it has ``disable_adapter()``, as ``peft`` models do, and its
    other weights are frozen) is its own reference with the adapters off, at no cost in memory. Any
    other policy is copied.
    """
    if uses_adapters(policy):
        return AdapterlessReference(policy)
    return FrozenReference(copy.deepcopy(policy))


def uses_adapters(policy: UpdatedPolicy) -> bool:
    """Whether adapters alone are trained, and can be switched off."""
    frozen = any(not parameter.requires_grad for parameter in policy.parameters())
    return frozen and hasattr(policy, "disable_adapter")


def fingerprint(policy: UpdatedPolicy) -> str:
    """SHA-256 over names, types, shapes and bytes of a policy's weights."""
    assert isinstance(policy, nn.Module)
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
