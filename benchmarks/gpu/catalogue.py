"""What the command measures, the most valuable first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Item:
    """One test or benchmark. Its module is ``benchmarks.gpu.items.NAME``."""

    name: str
    """What ``--only`` takes."""
    title: str
    """What the tables call it."""
    minutes: float
    """Measured on an H200, rounded up: an item starts only if the budget leaves as much."""
    limit_minutes: float
    """After this its process is ended."""


ITEMS = (
    Item(name="tests", title="GPU tests of kernels and OpenVLA", minutes=3, limit_minutes=6),
    Item(name="sampling", title="token sampling and log-probabilities", minutes=3, limit_minutes=9),
    Item(name="agreement", title="policies on the GPU against the CPU", minutes=1, limit_minutes=3),
    Item(name="tiny_vla", title="TinyVLA", minutes=1, limit_minutes=3),
    Item(name="openvla", title="OpenVLA-OFT 7B, random weights", minutes=3, limit_minutes=9),
    Item(name="egl", title="images by the GPU", minutes=1, limit_minutes=4),
    Item(name="engine", title="native engine on all cores", minutes=1, limit_minutes=5),
    Item(name="iteration", title="an iteration of test-time RL", minutes=1, limit_minutes=9),
    Item(name="nccl", title="NCCL with one process", minutes=1, limit_minutes=3),
    Item(name="cuda_and_egl", title="CUDA and EGL in one process", minutes=11, limit_minutes=14),
)
"""In order of value; ``cuda_and_egl`` takes as long as ``--egl-minutes`` says."""


def named(name: str) -> Item:
    """The item of that name; raises ``KeyError`` if there is none."""
    return {item.name: item for item in ITEMS}[name]
