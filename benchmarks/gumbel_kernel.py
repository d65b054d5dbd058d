"""A Gumbel-max sampler in the style of vLLM's: noise on every logit, block maxima, PyTorch reductions.

It is our own code, for comparison. It samples tokens only: no log-probabilities, no entropy, no window.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


def gumbel_sample(logits: Tensor, temperatures: Tensor, seeds: Tensor) -> Tensor:
    """Sample ids ``[rows]`` from ``softmax(logits / temperature)``; logits ``[rows, vocab]`` contiguous."""
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, BLOCK)
    best = torch.empty(rows, blocks, dtype=torch.float32, device=logits.device)
    tokens = torch.empty(rows, blocks, dtype=torch.int64, device=logits.device)
    _block_maximum[(rows, blocks)](logits, temperatures, seeds, best, tokens, vocab, blocks, BLOCK=BLOCK)
    return tokens.gather(1, best.argmax(1, keepdim=True))[:, 0]


@triton.jit
def _block_maximum(logits, temperatures, seeds, best, tokens, vocab, blocks, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < vocab
    values = tl.load(logits + row * vocab + offsets, mask=inside, other=-float("inf")).to(tl.float32)
    uniforms = tl.maximum(tl.rand(tl.load(seeds + row), offsets), 1e-7)
    values = values / tl.load(temperatures + row) - tl.log(-tl.log(uniforms))
    values = tl.where(inside, values, -float("inf"))
    maximum, index = tl.max(values, 0, return_indices=True)
    tl.store(best + row * blocks + block, maximum)
    tl.store(tokens + row * blocks + block, (block * BLOCK + index).to(tl.int64))
