from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.agents.policies.openvla_inputs import INSTRUCTIONS, load, observations
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.openvla.compiling import compile_blocks
from ttrl_env.agents.policies.sharding import share_policy
from ttrl_env.errors import ConfigError, MissingDependencyError


@pytest.mark.thorough  # tracing takes half a minute
def test_compiling_changes_no_result(checkpoint) -> None:
    plain, compiled = load(checkpoint, lora_rank=2), load(checkpoint, lora_rank=2, compile=True)
    compile_blocks(compiled.model, "eager")  # which traces as inductor does, without its minutes
    for rows in (3, 2):
        inputs = plain.prepare(observations(rows), INSTRUCTIONS[:rows])
        tokens = torch.randint(256, (rows, plain.chunk_steps * 7))
        want, got = (each.evaluate(inputs, tokens, torch.ones(rows)).logprobs for each in (plain, compiled))
        torch.testing.assert_close(got, want)


def test_every_block_that_is_used_is_compiled(checkpoint) -> None:
    compiled = load(checkpoint, lora_rank=2, compile=True)
    used = [block for block in compiled.sharding_units() if any(p.requires_grad for p in block.parameters())]
    assert used
    assert all(block._compiled_call_impl is not None for block in used)


def test_without_a_compiler_it_says_so_before_it_loads(checkpoint, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        MissingDependencyError, match=r"needs a C\+\+ compiler, found none of no-such-compiler"
    ):
        load(checkpoint, compile=True)


def test_compiled_blocks_are_not_divided_among_processes(checkpoint) -> None:
    world = dataclasses.replace(World(), size=2)
    with pytest.raises(ConfigError, match=r"policy\.openvla\.compile: expected false where several"):
        share_policy(load(checkpoint, compile=True), world)
