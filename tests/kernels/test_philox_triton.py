"""The Triton kernels' uniforms against the reference."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.kernels.philox import row_uniforms

pytest.importorskip("triton")

import triton
import triton.language as tl

from ttrl_env.kernels.sampling_parts_triton import row_uniforms as uniforms_of_row

# Seeds and steps that reach every word of key and counter, sign bits included.
SEEDS = [0, 1, -1, 2**32, -(2**63), 2**63 - 1, 0x299F31D0A4093822, 123456789012345]
STEPS = [0, 1, 7, -1, 2**32, 0x05A308D3243F6A88]


@triton.jit(do_not_specialize=["step"])
def _store_uniforms(seeds, step, out, STEP_IN_MEMORY: tl.constexpr):
    row = tl.program_id(0)
    chunk_uniform, token_uniform = uniforms_of_row(seeds + row, step, STEP_IN_MEMORY)
    tl.store(out + 2 * row, chunk_uniform)
    tl.store(out + 2 * row + 1, token_uniform)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("in_memory", [False, True])
def test_triton_uniforms_equal_the_reference_bit_for_bit(step, in_memory):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = torch.full((len(SEEDS), 2), float("nan"), dtype=torch.float64, device=device)
    argument = torch.tensor(step, device=device) if in_memory else step
    seeds = torch.tensor(SEEDS, device=device)
    _store_uniforms[(len(SEEDS),)](seeds, argument, out, STEP_IN_MEMORY=in_memory)
    chunk, token = row_uniforms(torch.tensor(SEEDS), step)
    assert out.cpu().tolist() == torch.stack([chunk, token], 1).tolist()
