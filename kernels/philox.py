"""Philox-4x32-10 in plain PyTorch, and the two uniform random numbers that decide a sample.

The counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
A sample's random numbers are a function of ``(seed, step)`` alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
MASK32 = 0xFFFFFFFF


def row_uniforms(seeds: Tensor, step: int | Tensor) -> tuple[Tensor, Tensor]:
    """The chunk uniform and the token uniform of each row: two ``[rows]`` float64 in [0, 1).

    The key is the row's 64-bit seed, the counter is ``(step low, step high, 0, 0)``; words 0 and 1 of the
    output make the chunk uniform, words 2 and 3 the token uniform, 53 bits each.
    """
    step = torch.as_tensor(step, dtype=torch.int64, device=seeds.device).expand_as(seeds)
    zero = torch.zeros_like(seeds)
    words = philox_4x32(
        (step & MASK32, (step >> 32) & MASK32, zero, zero), (seeds & MASK32, (seeds >> 32) & MASK32)
    )
    return _uniform(words[0], words[1]), _uniform(words[2], words[3])


def philox_4x32(counter: tuple[Tensor, ...], key: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Four 32-bit words for each counter, as int64 tensors with values in [0, 2^32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + KEY_INCREMENTS[0]) & MASK32
        k1 = (k1 + KEY_INCREMENTS[1]) & MASK32
    return c0, c1, c2, c3


def _multiply(value: Tensor, constant: int) -> tuple[Tensor, Tensor]:
    """High and low word of a 32 by 32 bit product, without leaving signed 64-bit range."""
    low = value * (constant & 0xFFFF)
    high = value * (constant >> 16)
    middle = high + (low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (low & 0xFFFF)


def _uniform(high: Tensor, low: Tensor) -> Tensor:
    """The upper 53 bits of a 64-bit word as a float64 multiple of 2^-53 in [0, 1)."""
    return ((high << 21) | (low >> 11)).double() * 2.0**-53
