"""What one process does while another one has more, or less, to compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.agents.reach import make_reach_env, make_tiny_policy
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies import PolicyInputs, TinyVLA, TinyVLAConfig, TokenEvaluation
from ttrl_env.agents.policies.lockstep import Chunks, Lockstep
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.kernels import SampledTokens

TOKENS = 56


@dataclass(frozen=True, kw_only=True)
class WorldOfTwo(World):
    """The first of two processes; what the other one tells is written down beforehand."""

    size: int = 2
    told_by_the_other: list[Any] = field(default_factory=list)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.told_by_the_other.pop(0)]


class CountingPolicy(TinyVLA):
    """Notes how many rows each of its passes has."""

    def __init__(self, config: TinyVLAConfig) -> None:
        super().__init__(config)
        self.passes: list[int] = []

    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        self.passes.append(len(temperatures))
        return super().sample(inputs, temperatures, seeds, step)

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        self.passes.append(len(temperatures))
        return super().evaluate(inputs, tokens, temperatures)


@pytest.fixture
def policy() -> CountingPolicy:
    return CountingPolicy(make_tiny_policy().config)


def _sample(lockstep: Lockstep[CountingPolicy], num_rows: int, rows_at_once: int = 0) -> list[Any]:
    """A chunk for the first ``num_rows`` of four rows."""
    env = make_reach_env(n_samples=4)
    observations, _ = env.reset()
    seeds = torch.arange(4 * TOKENS).view(4, TOKENS)
    passes = lockstep.passes(np.arange(num_rows), rows_at_once)
    return lockstep.sample(observations, env.instructions, passes, torch.ones(4), seeds)


def test_a_process_alone_makes_the_passes_of_its_own_rows_only(policy) -> None:
    sampled = _sample(Lockstep(policy), 4, rows_at_once=3)
    assert policy.passes == [3, 1]
    assert [len(part.tokens) for _, part in sampled] == [3, 1]


def test_a_process_with_fewer_rows_makes_the_other_passes_on_its_first_row(policy) -> None:
    alone = _sample(Lockstep(policy), 2)
    policy.passes.clear()
    sampled = _sample(Lockstep(policy, WorldOfTwo(told_by_the_other=[3, None])), 2)
    assert policy.passes == [2, 1, 1]
    assert len(sampled) == 1
    assert torch.equal(sampled[0][1].tokens, alone[0][1].tokens)


def test_a_process_without_rows_takes_one_of_another_process(policy) -> None:
    ((theirs, _),) = _sample(Lockstep(policy), 1)
    policy.passes.clear()
    lockstep = Lockstep(policy, WorldOfTwo(told_by_the_other=[2, theirs, 1]))
    assert _sample(lockstep, 0) == []
    assert policy.passes == [1, 1]
    (padding,) = lockstep.padded([], lambda chunk: chunk)
    assert torch.equal(padding.inputs["pixels"], theirs["pixels"])
    assert padding.tokens.shape == (1, TOKENS)


def test_no_process_with_rows_is_the_end(policy) -> None:
    assert Lockstep(policy, WorldOfTwo(told_by_the_other=[0])).passes([]) == []
    assert Lockstep(policy).passes([]) == []


def test_chunks_are_evaluated_in_parts_and_as_often_as_by_the_other_process(policy) -> None:
    rollout = collect_rollout(make_reach_env(n_samples=4), policy, seed=0)
    lockstep = Lockstep(policy, WorldOfTwo(told_by_the_other=[1, None, 3]))
    _sample(lockstep, 2)
    policy.passes.clear()
    chunks = rollout.chunks.select(slice(3))
    evaluated = lockstep.evaluate(chunks, rows_at_once=2)
    assert policy.passes == [2, 1, 1]
    assert [np.asarray(rows).tolist() for rows, _ in evaluated] == [[0, 1], [2]]
    logprobs = torch.cat([evaluation.logprobs for _, evaluation in evaluated])
    assert torch.allclose(logprobs, rollout.logprobs[:3], atol=1e-5)


def test_evaluating_beside_others_without_a_row_says_what_to_do(policy) -> None:
    lockstep = Lockstep(policy, WorldOfTwo(told_by_the_other=[1]))
    nothing = Chunks(inputs={}, tokens=torch.empty(0, TOKENS).long(), temperatures=torch.empty(0))
    with pytest.raises(RuntimeError, match="sample with the same Lockstep before"):
        lockstep.evaluate(nothing, rows_at_once=1)


def test_a_lockstep_stays_the_one_it_is(policy) -> None:
    lockstep = Lockstep(policy)
    assert Lockstep.of(lockstep) is lockstep
    assert Lockstep.of(policy).world.alone
