from __future__ import annotations

from contextlib import contextmanager

import torch

from tests.agents.reach import make_tiny_policy
from ttrl_env.agents.policies.reference import fingerprint, frozen_reference, uses_adapters


def _arguments(policy):
    inputs = {
        "pixels": torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        "word_ids": torch.ones(2, policy.config.max_words, dtype=torch.int64),
    }
    return inputs, torch.zeros(2, 56, dtype=torch.int64), torch.tensor([0.6, 1.2])


def test_a_reference_stays_what_the_policy_was() -> None:
    policy = make_tiny_policy()
    arguments = _arguments(policy)
    before = policy.evaluate(*arguments).logprobs
    reference = frozen_reference(policy)
    with torch.no_grad():
        policy.head.bias[0] += 1.0
    logprobs = reference.logprobs(*arguments)
    assert torch.equal(logprobs, before)
    assert not logprobs.requires_grad
    assert not torch.allclose(policy.evaluate(*arguments).logprobs, before)
    assert all(parameter.requires_grad for parameter in policy.parameters())


def test_a_policy_with_adapters_is_its_own_reference_with_them_off(monkeypatch) -> None:
    policy = make_tiny_policy()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    policy.head.bias.requires_grad_(True)  # plays the adapter
    before = policy.evaluate(*_arguments(policy)).logprobs

    @contextmanager
    def disable_adapter():
        trained, policy.head.bias.data = policy.head.bias.data, torch.zeros(256)
        yield
        policy.head.bias.data = trained

    monkeypatch.setattr(policy, "disable_adapter", disable_adapter, raising=False)
    assert uses_adapters(policy)
    reference = frozen_reference(policy)
    with torch.no_grad():
        policy.head.bias[0] = 1.0
    assert torch.equal(reference.logprobs(*_arguments(policy)), before)
    assert reference.policy is policy
    assert policy.head.bias[0].item() == 1.0
    policy.head.weight.requires_grad_(True)
    for parameter in policy.parameters():
        parameter.requires_grad_(True)
    assert not uses_adapters(policy)  # everything is trained: switching adapters off gives nothing back


def test_a_fingerprint_tells_policies_apart() -> None:
    policy = make_tiny_policy()
    first = fingerprint(policy)
    assert first == fingerprint(make_tiny_policy())
    with torch.no_grad():
        policy.head.bias[3] += 1e-7
    assert fingerprint(policy) != first
